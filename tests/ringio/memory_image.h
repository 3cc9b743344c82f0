// An image in memory that a test can hold, fail and look into. Completes through the engine's
// mailbox, never inside submit. Any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <boost/intrusive/parent_from_member.hpp>
#include <cassert>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "xenblk/image.h"

namespace xenblk::ringio::test {

class MemoryImage final : public Image {
 public:
  explicit MemoryImage(SectorCount capacity, Access access = Access::read_write)
      : info_{.format = "memory", .capacity = capacity, .access = access, .discard = true},
        bytes_(capacity.n * kSectorBytes) {}
  ~MemoryImage() override { assert(in_flight_ == 0); }

  const ImageInfo& info() const override { return info_; }
  SectorCount capacity() const override { return {capacity_}; }
  Expected<SectorCount> reread_capacity() override {
    const std::scoped_lock lock(mutex_);
    const std::uint64_t sectors = bytes_.size() / kSectorBytes;
    if (sectors < capacity_) return fail(Errc::refused, "memory: has become smaller");
    capacity_ = sectors;
    return SectorCount{sectors};
  }
  Expected<ImageExtent> extent_at(SectorIndex first) override {
    return ImageExtent{.count = {info_.capacity.n - first.n}};
  }
  Expected<void> finish() override { return {}; }

  void submit(ImageRequest& request) noexcept override {
    const std::scoped_lock lock(mutex_);
    assert(request.engine != nullptr && request.done != nullptr);
    ++in_flight_;
    log_.push_back(request.op);
    if (hold_) {
      held_.push_back(&request);
    } else {
      complete(request);
    }
  }

  // --- for the test ---
  // What holds the image gets another size; the image finds out when it looks.
  void resize(SectorCount sectors) {
    const std::scoped_lock lock(mutex_);
    bytes_.resize(sectors.n * kSectorBytes);
  }
  void hold() { set_hold(true); }
  // Completes the request that was submitted as the nth of those that are held.
  void release(std::size_t nth = 0) {
    const std::scoped_lock lock(mutex_);
    ImageRequest& request = *held_.at(nth);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(nth));
    complete(request);
  }
  void release_all() {
    set_hold(false);
    while (held() != 0) release();
  }
  std::size_t held() const {
    const std::scoped_lock lock(mutex_);
    return held_.size();
  }
  // The next requests fail with these, in turn.
  void fail_next(IoStatus status) {
    const std::scoped_lock lock(mutex_);
    failures_.push_back(status);
  }
  // All changes fail with this until it is okay.
  void fail_changes(IoStatus status) {
    const std::scoped_lock lock(mutex_);
    changes_fail_ = status;
  }
  // In the order of submission.
  std::vector<ImageOp> log() const {
    const std::scoped_lock lock(mutex_);
    return log_;
  }
  // As if it lay in the page cache, or not.
  void set_cached(bool cached) { info_.cached = cached; }
  void fill(std::byte value) { std::ranges::fill(bytes_, value); }
  std::span<std::byte> sectors(std::uint64_t first, std::uint64_t count) {
    return std::span(bytes_).subspan(first * kSectorBytes, count * kSectorBytes);
  }

 private:
  void set_hold(bool hold) {
    const std::scoped_lock lock(mutex_);
    hold_ = hold;
  }

  void complete(ImageRequest& request) noexcept {
    request.status = execute(request);
    --in_flight_;
    request.task.run = [](Task& task) noexcept {
      auto& self = *boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
      self.done(self);
    };
    request.engine->post(request.task);
  }

  IoStatus execute(ImageRequest& request) {
    if (!failures_.empty()) {
      const IoStatus status = failures_.front();
      failures_.pop_front();
      return status;
    }
    if (request.op != ImageOp::read && changes_fail_ != IoStatus::okay) return changes_fail_;
    if (request.op == ImageOp::flush) return IoStatus::okay;
    if (!fits(request.first, request.count, capacity())) return IoStatus::out_of_range;
    const auto place = sectors(request.first.n, request.count.n);
    switch (request.op) {
      case ImageOp::read:
        std::memcpy(request.data, place.data(), place.size());
        break;
      case ImageOp::write:
        std::memcpy(place.data(), request.data, place.size());
        break;
      case ImageOp::discard:
      case ImageOp::write_zeroes:
        std::ranges::fill(place, std::byte{0});
        break;
      case ImageOp::flush:
        break;
    }
    return IoStatus::okay;
  }

  ImageInfo info_;
  std::atomic<std::uint64_t> capacity_ = info_.capacity.n;
  mutable std::mutex mutex_;
  // All under mutex_.
  std::vector<std::byte> bytes_;
  bool hold_ = false;
  std::deque<ImageRequest*> held_;
  std::deque<IoStatus> failures_;
  IoStatus changes_fail_ = IoStatus::okay;
  std::vector<ImageOp> log_;
  std::size_t in_flight_ = 0;
};

}  // namespace xenblk::ringio::test
