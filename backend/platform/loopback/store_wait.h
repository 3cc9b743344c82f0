// Waiting for a XenStore node, as frontends and toolstacks do.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "xenblk/xen.h"

namespace xenblk::loopback {

// How to let the other side work while waiting: called again and again when given; otherwise the
// waiting thread sleeps, because the other side has a thread of its own.
struct Patience {
  std::uint32_t timeout_ms = 10000;
  std::function<void()> pump;
};

// Runs `step` until it is true; `fd` wakes it up. False when the time is over.
bool wait_until(const std::function<bool()>& step, int fd, const Patience& patience);

using NodeValue = std::optional<std::string>;  // nothing: the node is missing

// Waits until the node's value is accepted.
bool wait_for_node(XenStore& store, std::string_view path,
                   const std::function<bool(const NodeValue&)>& accept, const Patience& patience);

NodeValue read_node(XenStore& store, std::string_view path);

}  // namespace xenblk::loopback
