// When is everyone gone who may have seen what was just taken away? Requests enter before they look
// at the block map and leave when they are answered; a place in the file that was withdrawn from
// the map may be used for something else once all who were inside at that moment have left.
//
// Two epochs: new requests count in the current one, a grace period makes the other one current and
// waits until the old one is empty. enter() and leave() take no lock; a request costs an addition
// and a subtraction on a counter that the threads hardly share. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "vhd/request.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

class GracePeriods {
 public:
  GracePeriods() = default;
  GracePeriods(const GracePeriods&) = delete;
  GracePeriods& operator=(const GracePeriods&) = delete;
  ~GracePeriods();

  void enter(ImageRequest& request) noexcept;
  void leave(ImageRequest& request) noexcept;

  // Calls `then` on the request's thread once all who are inside now have left. The request itself
  // is not inside.
  void wait(ImageRequest& request, Then then) noexcept;

 private:
  // Engines are as many as threads; those that share a counter only lose some speed.
  static constexpr std::size_t kShards = 16;
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint32_t>, 2> inside = {};
  };

  void begin_period();
  void end_if_empty() noexcept;
  bool is_empty(std::uint32_t epoch) const;

  std::array<Shard, kShards> shards_;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  std::atomic<bool> draining_{false};  // the epoch that is not current

  std::mutex mutex_;
  TaskList served_;   // by the grace period that is under way
  TaskList waiting_;  // for the next one
};

}  // namespace xenblk::vhd
