// The thread of a MergingImage: range by range, it keeps writes out, copies what the child stores
// there, and lets them in again.
#include <algorithm>
#include <cassert>
#include <chrono>
#include <utility>

#include "vhd/aligned_buffer.h"
#include "vhd/merging_image.h"
#include "vhd/request.h"

namespace xenblk::vhd {
namespace {

// What a write may have to wait for is a copy of so much.
constexpr std::uint64_t kCopySectors = (1U << 20) / kSectorBytes;
// What the child does not store costs no time, only memory accesses.
constexpr std::uint64_t kSkipSectors = (std::uint64_t{1} << 30) / kSectorBytes;

std::unexpected<Error> failed(IoStatus status, const char* what) {
  return fail(status == IoStatus::no_space ? Errc::no_space : Errc::io, what);
}

}  // namespace

void MergingImage::start(Rate rate, Ended ended) {
  assert(!thread_.joinable());
  started_ = Clock::now();
  thread_ = std::thread([this, rate, ended = std::move(ended)] { ended(copy_all(rate)); });
}

void MergingImage::end_thread() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Expected<void> MergingImage::copy_all(const Rate& rate) {
  const auto all = capacity().n;
  for (std::uint64_t first = 0; first < all;) {
    if (auto whole = check_unbroken(); !whole) return whole;
    const auto range = next_range(first);
    if (!range) return std::unexpected(range.error());
    keep_out(*range);
    const auto reached = copy_range(*range);
    let_in(reached.value_or(first));
    if (!reached) return std::unexpected(reached.error());
    first = *reached;
    progress_->sectors_done.store(first);
    wait_for_rate(rate);
    const std::lock_guard lock(mutex_);
    if (ending_) return fail(Errc::closed, "the image was closed before all was merged");
  }
  if (auto flushed = flush_parent(); !flushed) return flushed;
  return check_unbroken();
}

// Looked at while writes go on: an estimate, so that they are kept out for no longer than need be.
Expected<MergingImage::Range> MergingImage::next_range(std::uint64_t first) {
  Range range{first, first};
  const auto most = std::min(capacity().n, first + kSkipSectors);
  while (range.end < most) {
    const auto extent = child_->extent_at({range.end});
    if (!extent) return std::unexpected(extent.error());
    const bool stored = extent->level == 0;
    if (stored && range.end > first) break;
    range.end += stored ? std::min(extent->count.n, kCopySectors) : extent->count.n;
    if (stored) break;
  }
  range.end = std::min(range.end, most);
  return range;
}

// Up to where it came: after one copy it lets others in.
Expected<std::uint64_t> MergingImage::copy_range(const Range& range) {
  const AlignedBuffer buffer(kCopySectors * kSectorBytes);
  for (std::uint64_t first = range.first; first < range.end;) {
    const auto extent = child_->extent_at({first});
    if (!extent) return std::unexpected(extent.error());
    const auto count = std::min(extent->count.n, range.end - first);
    if (extent->level != 0) {
      first += count;
      continue;
    }
    const auto part = std::min(count, kCopySectors);
    if (auto copied = copy_run({first}, {part}, buffer.data()); !copied) {
      return std::unexpected(copied.error());
    }
    return first + part;
  }
  return range.end;
}

Expected<void> MergingImage::copy_run(SectorIndex first, SectorCount count, std::byte* buffer) {
  auto status = engine_.run(*child_, {ImageOp::read, first, count, buffer});
  if (status != IoStatus::okay) return failed(status, "the child cannot be read");
  status = engine_.run(*parent_, {ImageOp::write, first, count, buffer});
  if (status != IoStatus::okay) return failed(status, "the parent cannot be written");
  progress_->sectors_copied.fetch_add(count.n);
  return {};
}

Expected<void> MergingImage::flush_parent() {
  const auto status = engine_.run(*parent_, {ImageOp::flush, {}, {}, nullptr});
  if (status != IoStatus::okay) return failed(status, "the parent cannot be synced");
  return {};
}

Expected<void> MergingImage::check_unbroken() const {
  const char* why = broken_.load();
  return why == nullptr ? Expected<void>{} : fail(Errc::io, why);
}

Expected<void> MergingImage::settle() {
  if (auto whole = check_unbroken(); !whole) return whole;
  return flush_parent();
}

// Returns when no write that is under way touches it.
void MergingImage::keep_out(const Range& range) {
  std::unique_lock lock(mutex_);
  kept_out_ = range;
  changed_.wait(lock, [&] {
    return std::ranges::none_of(
        inside_, [&](const auto* request) { return overlap(range, range_of(*request)); });
  });
}

void MergingImage::let_in(std::uint64_t copied_until) {
  ImageRequestList woken;
  {
    const std::lock_guard lock(mutex_);
    kept_out_ = {};
    copied_until_ = copied_until;
    woken = take_waiting();
  }
  resume(std::move(woken));
}

// So that on the whole no more is copied in a time than may be.
void MergingImage::wait_for_rate(const Rate& rate) {
  if (rate.bytes_per_second == 0) return;
  const auto bytes = static_cast<double>(progress_->sectors_copied.load() * kSectorBytes);
  const std::chrono::duration<double> due(bytes / static_cast<double>(rate.bytes_per_second));
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, started_ + std::chrono::duration_cast<Clock::duration>(due),
                      [this] { return ending_; });
}

}  // namespace xenblk::vhd
