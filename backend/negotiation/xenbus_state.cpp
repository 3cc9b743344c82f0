#include "backend/negotiation/xenbus_state.h"

#include "backend/negotiation/values.h"

namespace xenblk::negotiation {

std::string_view name(XenbusState state) {
  switch (state) {
    case XenbusState::unknown:
      return "Unknown";
    case XenbusState::initialising:
      return "Initialising";
    case XenbusState::init_wait:
      return "InitWait";
    case XenbusState::initialised:
      return "Initialised";
    case XenbusState::connected:
      return "Connected";
    case XenbusState::closing:
      return "Closing";
    case XenbusState::closed:
      return "Closed";
    case XenbusState::reconfiguring:
      return "Reconfiguring";
    case XenbusState::reconfigured:
      return "Reconfigured";
  }
  return "?";
}

std::optional<XenbusState> parse_state(std::string_view value) {
  const auto number = parse_u32(value);
  if (!number || *number > static_cast<std::uint32_t>(XenbusState::reconfigured)) return {};
  return static_cast<XenbusState>(*number);
}

}  // namespace xenblk::negotiation
