// The limits of a disk, and those of all disks of its guest together, as nodes of the disk's
// directory in XenStore: what a toolstack may write there before the disk is served, and what the
// daemon writes there so that the next one goes on with it. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "backend/negotiation/offer.h"
#include "ringio/rate_limiter.h"
#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::backend {

// What a limit may be where there is one. Less than a request of one page a second, or more than
// any device does, is a slip of the pen.
struct LimitRange {
  std::uint64_t least;
  std::uint64_t most;
};
inline constexpr LimitRange kOperationsRange{1, 100'000'000};         // a second
inline constexpr LimitRange kBandwidthRange{kPageBytes, 1ULL << 40};  // bytes a second
inline constexpr LimitRange kBurstRange{1, 60'000};                   // milliseconds

// A missing node, and 0 but for the burst: not limited. Errors: bad_node, which names the node.
using NodeOf = std::function<std::optional<std::string>(const char* name)>;
Expected<ringio::RateLimits> read_limits(const NodeOf& node);

// Nothing when there is no node at all: this disk says nothing about its guest.
Expected<std::optional<ringio::RateLimits>> read_guest_limits(const NodeOf& node);

// All of them, so that a limit that was taken away is not there for the next daemon either.
std::vector<negotiation::Node> limit_nodes(const ringio::RateLimits& limits);
std::vector<negotiation::Node> guest_limit_nodes(const ringio::RateLimits& limits);

}  // namespace xenblk::backend
