// xenblkctl beside a guest called web1.
#pragma once

#include <string>

#include "tests/control/control_fixture.h"

namespace xenblk::control {

class Ctl : public ControlTest {
 protected:
  loopback::Disk connect_web1(const std::string& params) {
    const auto one = named_disk(params);
    connect(one, {.queue = {.segments_max = 32}});
    return one;
  }
  std::string state() const { return json({"info", "7/51712"})["state"]; }
};

}  // namespace xenblk::control
