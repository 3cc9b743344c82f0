// Requests that took longer than an administrator likes, for the log. Plain values.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "xenblk/blkif.h"
#include "xenblk/units.h"

namespace xenblk::ringio {

// One that was answered okay, but late, and where the time went.
struct SlowRequest {
  blkif::Op op = blkif::Op::read;
  SectorIndex first;
  SectorCount count;
  std::uint64_t total_ns = 0;
  std::uint64_t data_in_ns = 0;  // 0 where there is no such phase
  std::uint64_t image_ns = 0;
  std::uint64_t data_out_ns = 0;
  std::uint64_t untold = 0;  // further slow ones of the queue since the last that was told
};

struct SlowRequestWatch {
  // Shared by all queues, changed by the control plane at any time; 0 or none: nothing is slow.
  std::shared_ptr<const std::atomic<std::uint64_t>> threshold_ns;
  // On the worker's thread, at most once a second for each queue. Must not block. May be empty.
  std::function<void(const SlowRequest&)> tell;
};

}  // namespace xenblk::ringio
