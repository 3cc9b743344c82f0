// Lines that the control socket answers with, and where they go.
#pragma once

#include <functional>
#include <string>

#include "backend/control/status_json.h"
#include "xenblk/error.h"

namespace xenblk::control {

// One line, without its end.
std::string good_answer(const Json& result);
std::string bad_answer(const Error& error);

// Where an answer goes. `say` is to be called once, on the loop's thread, now or later; it does
// nothing when whoever asked has gone.
struct Reply {
  std::function<void(std::string line)> say;
  std::function<bool()> wanted;  // whoever asked is still there

  void good(const Json& result = nullptr) const { say(good_answer(result)); }
  void bad(const Error& error) const { say(bad_answer(error)); }
  void with(const Expected<void>& outcome) const { outcome ? good() : bad(outcome.error()); }
};

}  // namespace xenblk::control
