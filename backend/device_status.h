// What one device is at the moment, as plain values: for whoever shows it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/device_nodes.h"
#include "backend/negotiation/device_state.h"
#include "backend/negotiation/offer.h"
#include "backend/negotiation/paths.h"
#include "ringio/counters.h"
#include "ringio/rate_limiter.h"
#include "ringio/storage_policy.h"
#include "vhd/merging_image.h"
#include "xenblk/blkif.h"
#include "xenblk/image.h"

namespace xenblk::backend {

// What was agreed on with a guest that is connected.
struct SessionStatus {
  blkif::Layout layout = blkif::Layout::native;
  std::uint32_t ring_order = 0;
  bool persistent_grants = false;
};

// How the disk is served to NBD clients.
struct ExportStatus {
  std::string socket;
  Access access = Access::read_only;
  std::uint32_t clients = 0;  // connected now
  std::uint64_t requests = 0;
};

// An image that is being merged into its parent, or that was.
struct MergeStatus {
  enum class State : std::uint8_t { running, done, failed };
  State state = State::running;
  std::shared_ptr<const vhd::MergeProgress> progress;
  std::string into;  // as `params` say it
  std::string failure;
};

struct DeviceStatus {
  negotiation::DeviceKey key;
  negotiation::Own own;
  DiskRequest request;
  std::string failure;
  std::optional<negotiation::Offer> offer;
  std::optional<ImageInfo> image;  // while it is open
  SectorCount capacity;            // of the open image, now
  std::optional<SessionStatus> session;
  std::optional<ExportStatus> exported;
  std::optional<MergeStatus> merge;
  bool paused = false;
  std::uint64_t looks_put_off = 0;  // times that the guest had changed its state too often
  ringio::StoragePolicy policy;
  bool storage_waits = false;    // some of its requests wait for the storage, which has failed them
  bool storage_stopped = false;  // all of its requests are refused since the storage has failed one
  ringio::RateLimits limits;
  ringio::RateLimits guest_limits;  // of all disks of its guest together
  // One for each queue that is connected, or was last. Read them at any time: they are shared with
  // the workers, and stay when the queue is gone.
  std::vector<std::shared_ptr<const ringio::QueueCounters>> counters;
};

}  // namespace xenblk::backend
