#include "backend/control/answer.h"

#include "backend/control/command.h"

namespace xenblk::control {
namespace {

// Names may hold bytes that are no UTF-8; they are replaced.
std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string good_answer(const Json& result) {
  return line_of({{"version", kProtocolVersion}, {"ok", true}, {"result", result}});
}

std::string bad_answer(const Error& error) {
  return line_of({{"version", kProtocolVersion}, {"ok", false}, {"error", describe(error)}});
}

}  // namespace xenblk::control
