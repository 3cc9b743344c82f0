// Speaks with xenblkd over its control socket: a line each way (docs/control.md). Blocks; one
// thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "xenblk/error.h"

namespace xenblk::ctl {

using Json = nlohmann::ordered_json;

struct Place {
  std::string socket = "/run/xenblk/control.sock";
  int patience_seconds = 60;
};

// Sends `command` (without "version") and waits for the answer. Returns its "result". Errors: what
// the daemon says (refused), not_found and permission (no such socket, or not for us), closed (the
// daemon went away), unavailable (no answer in time).
Expected<Json> ask(const Place& place, Json command);

}  // namespace xenblk::ctl
