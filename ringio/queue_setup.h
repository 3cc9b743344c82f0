// What the control plane hands over to connect one queue of one disk. Plain values.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ringio/counters.h"
#include "ringio/journaled_ring.h"
#include "ringio/rate_limiter.h"
#include "ringio/slow_request.h"
#include "ringio/storage_watch.h"
#include "xenblk/blkif.h"
#include "xenblk/image.h"
#include "xenblk/units.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

// A queue of one worker. Never used twice by the same worker.
struct QueueId {
  std::uint64_t n = 0;
  auto operator<=>(const QueueId&) const = default;
};

// The first trouble of its kind on a queue. `detail` is the number that was wrong: the operation,
// the count of segments, the grant reference, the sector, or the distance of the indices.
struct QueueNotice {
  Trouble trouble = Trouble::unknown_operation;
  std::uint64_t detail = 0;
};

// Memory of a worker that serves indirect requests, at least: a buffer for the largest piece, and
// one for a table of segments beside it.
inline constexpr std::size_t kIndirectArenaBytes = std::size_t{2} << 20;

struct QueueSetup {
  DomainId peer;
  DeviceId device;  // with the peer, the disk whose queue it is: they have one share of the worker
  blkif::Layout layout = blkif::Layout::native;
  std::vector<GrantRef> ring_refs;  // in the ring's order; 1, 2, 4, 8 or 16, no two the same
  EventPort remote_port;

  std::shared_ptr<Image> image;
  Access access = Access::read_only;  // of the disk: a read-only disk may be on a writable image
  std::uint32_t logical_sector_bytes = kSectorBytes;  // power of two, up to a page
  // What was written to the backend's XenStore directory. What was not offered is answered
  // EOPNOTSUPP.
  bool offer_flush = true;
  bool offer_barrier = true;
  bool offer_discard = false;
  bool persistent_grants = false;           // both sides said that grants stay in force
  std::uint32_t indirect_segments_max = 0;  // 0: not offered; up to blkif::kMaxIndirectSegments

  // Notes what is in flight, for the daemon after us; must be the queue's own. Not for a disk that
  // need not survive our death.
  std::optional<JournalPlace> journal;

  std::shared_ptr<QueueCounters> counters;     // may be empty: the queue then makes its own
  std::shared_ptr<RateLimiter> limiter;        // of the disk; may be empty: no limits
  std::shared_ptr<RateLimiter> guest_limiter;  // of all disks of its guest; may be empty
  SlowRequestWatch slow;
  StorageSetup storage;
  // Called on the worker's thread, at most once per kind of trouble. Must not block for long and
  // must not call the worker's functions that wait. May be empty.
  std::function<void(const QueueNotice&)> notice;
};

}  // namespace xenblk::ringio
