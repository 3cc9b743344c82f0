// XenBus states of a frontend or a backend (xen/include/public/io/xenbus.h, enum xenbus_state).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xenblk::negotiation {

enum class XenbusState : std::uint8_t {
  unknown = 0,  // also stands for "no such node"
  initialising = 1,
  init_wait = 2,
  initialised = 3,
  connected = 4,
  closing = 5,
  closed = 6,
  reconfiguring = 7,
  reconfigured = 8,
};

std::string_view name(XenbusState state);

// The state that a `state` node's value stands for; nothing when the value is not one of 0 to 8.
std::optional<XenbusState> parse_state(std::string_view value);

}  // namespace xenblk::negotiation
