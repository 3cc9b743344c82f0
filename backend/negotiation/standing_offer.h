// What a frontend was told by a daemon before this one, for taking its rings over.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "backend/negotiation/offer.h"

namespace xenblk::negotiation {

// Value of a node relative to the backend's directory; nothing when it does not exist.
using BackendNodes = std::function<std::optional<std::string>(std::string_view name)>;

// A connected frontend goes by what it read when it connected, whatever this daemon would offer
// today: one that was not offered persistent grants gives its pages back after each request, also
// to a backend that would like to keep them. A node that is missing, or that no backend may write,
// counts as it does for a frontend: the feature is not there (blkif.h, "Backend XenBus Nodes").
Offer standing_offer(const BackendNodes& nodes);

}  // namespace xenblk::negotiation
