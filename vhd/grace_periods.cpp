#include "vhd/grace_periods.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {
namespace {

// What the request remembers: the shard and the epoch, and that it is inside.
constexpr std::uint64_t kInside = 1U << 16;

std::size_t shard_of(const ImageRequest& request, std::size_t shards) {
  // Engines are large objects; the low bits of their addresses say nothing.
  return (reinterpret_cast<std::uintptr_t>(request.engine) >> 6) * 0x9e3779b97f4a7c15U >> 32 &
         (shards - 1);
}

}  // namespace

GracePeriods::~GracePeriods() {
  assert(is_empty(0) && is_empty(1));
  assert(served_.empty() && waiting_.empty());
}

// All accesses here and those to the block map's entries are in one order: who enters after the
// epoch was seen empty sees the map as it was changed before. Who has read an epoch that is over by
// the time it is counted starts again, as the next grace period would not wait for it.
void GracePeriods::enter(ImageRequest& request) noexcept {
  const auto shard = shard_of(request, kShards);
  while (true) {
    const auto epoch = epoch_.load();
    shards_[shard].inside[epoch].fetch_add(1);
    scratch(request, Scratch::ticket) = kInside | shard << 1 | epoch;
    if (epoch_.load() == epoch) return;
    leave(request);
  }
}

void GracePeriods::leave(ImageRequest& request) noexcept {
  const auto ticket = scratch(request, Scratch::ticket);
  assert((ticket & kInside) != 0);
  scratch(request, Scratch::ticket) = 0;
  auto& inside = shards_[ticket >> 1 & (kShards - 1)].inside[ticket & 1];
  const auto before = inside.fetch_sub(1);
  assert(before > 0);
  if (before == 1 && draining_.load()) end_if_empty();
}

void GracePeriods::wait(ImageRequest& request, Then then) noexcept {
  scratch(request, Scratch::then) = reinterpret_cast<std::uintptr_t>(then);
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(request.task);
    if (!draining_.load()) begin_period();
  }
  end_if_empty();
}

// Under the lock.
void GracePeriods::begin_period() {
  assert(served_.empty());
  served_.swap(waiting_);
  epoch_.store(1 - epoch_.load());
  draining_.store(true);
}

void GracePeriods::end_if_empty() noexcept {
  const std::lock_guard lock(mutex_);
  while (draining_.load() && is_empty(1 - epoch_.load())) {
    while (!served_.empty()) {
      auto& request = request_of(served_.front());
      served_.pop_front();
      post_then(request, reinterpret_cast<Then>(scratch(request, Scratch::then)), IoStatus::okay);
    }
    draining_.store(false);
    if (!waiting_.empty()) begin_period();
  }
}

bool GracePeriods::is_empty(std::uint32_t epoch) const {
  return std::ranges::all_of(shards_,
                             [&](const Shard& shard) { return shard.inside[epoch].load() == 0; });
}

}  // namespace xenblk::vhd
