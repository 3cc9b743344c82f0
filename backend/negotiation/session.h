// Turns what a frontend wrote into a session, or into the reason why there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/negotiation/offer.h"
#include "xenblk/blkif.h"
#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::negotiation {

struct QueueSession {
  std::vector<GrantRef> ring_refs;  // 1 << ring_order of them, in ring order
  EventPort port;                   // of the frontend's domain
  friend bool operator==(const QueueSession&, const QueueSession&) = default;
};

struct Session {
  blkif::Layout layout = blkif::Layout::native;
  std::uint32_t ring_order = 0;
  std::vector<QueueSession> queues;
  bool persistent_grants = false;  // both sides said so
  friend bool operator==(const Session&, const Session&) = default;
};

// Value of a node relative to the frontend's directory; nothing when it does not exist.
using FrontendNodes = std::function<std::optional<std::string>(std::string_view name)>;

// Pure but for the nodes that it asks for: at most 5 + queues * (pages + 1) of them, bounded by the
// offer. Errors: bad_node (missing, or not what the protocol allows there), refused (more than was
// offered); the text names the node and never holds unprintable bytes of the guest.
Expected<Session> negotiate(const Offer& offer, const FrontendNodes& nodes);

}  // namespace xenblk::negotiation
