// XenStore as the control plane uses it: values that may be missing, and publications that are all
// or nothing.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "backend/negotiation/offer.h"
#include "backend/negotiation/xenbus_state.h"
#include "xenblk/xen.h"

namespace xenblk::backend {

// The value of a node; nothing when it does not exist or cannot be read.
std::optional<std::string> read_node(XenStore& store, const std::string& path);

enum class Published : std::uint8_t {
  done,
  outdated,  // the directory is gone, or its `state` is not the expected one: look again
};

// Writes `nodes` below `directory` in one transaction, but only while its `state` node still says
// `expected`: a close that the toolstack writes in between is never overwritten, and a directory
// that was removed is never made again. Tries a bounded number of times when transactions conflict.
// Errors: conflict (all tries were in vain), closed, permission, io.
Expected<Published> publish(XenStore& store, const std::string& directory,
                            negotiation::XenbusState expected,
                            std::span<const negotiation::Node> nodes);

// Tries of one publication. Other domains can delay ours by writing, but not for ever.
inline constexpr int kPublishTries = 50;

}  // namespace xenblk::backend
