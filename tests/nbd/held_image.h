// A disk in memory that answers when it is told to: requests stay under way as long as a test
// wants.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <vector>

#include "vhd/request.h"
#include "xenblk/image.h"

namespace xenblk::test {

class HeldImage final : public Image {
 public:
  explicit HeldImage(SectorCount capacity) : bytes_(capacity.n * kSectorBytes) {
    info_ = {.format = "held", .capacity = capacity, .access = Access::read_write, .discard = true};
  }

  const ImageInfo& info() const override { return info_; }

  void submit(ImageRequest& request) noexcept override {
    const std::lock_guard lock(mutex_);
    seen_.push_back(request.op);
    held_.push_back(&request);
    if (free_) answer_all();
    changed_.notify_all();
  }

  Expected<ImageExtent> extent_at(SectorIndex first) override {
    if (first.n >= broken_from.load()) return fail(Errc::io, "broken");
    const auto kind = first.n % 2 == 0 ? ImageExtent::Kind::zero : ImageExtent::Kind::data;
    return ImageExtent{kind, {1}};
  }
  Expected<void> finish() override { return {}; }

  // Any thread.
  void wait_until_held(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_.size() >= count; });
  }
  void answer_last(IoStatus status = IoStatus::okay) {
    const std::lock_guard lock(mutex_);
    auto& request = *held_.back();
    held_.pop_back();
    answer(request, status);
  }
  void answer_all_from_now_on() {
    const std::lock_guard lock(mutex_);
    free_ = true;
    answer_all();
  }
  std::vector<ImageOp> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  std::size_t held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }

  // From this sector on nothing is known of what is stored. Changed while an export looks.
  std::atomic<std::uint64_t> broken_from = ~std::uint64_t{0};
  // Reads and writes that touch it fail.
  SectorIndex bad_sector = {~std::uint64_t{0}};

 private:
  void answer_all() {
    for (auto* request : held_) answer(*request, IoStatus::okay);
    held_.clear();
  }
  // Copies as a disk would, then answers on the thread of the one who asked.
  void answer(ImageRequest& request, IoStatus status) {
    auto* const disk = bytes_.data() + request.first.n * kSectorBytes;
    const auto bytes = request.count.n * kSectorBytes;
    if (request.op == ImageOp::read) std::memcpy(request.data, disk, bytes);
    if (request.op == ImageOp::write) std::memcpy(disk, request.data, bytes);
    if (request.op == ImageOp::write_zeroes) std::memset(disk, 0, bytes);
    const bool bad = request.op != ImageOp::flush && bad_sector.n >= request.first.n &&
                     bad_sector.n - request.first.n < request.count.n;
    vhd::answer_later(request, bad ? IoStatus::io_error : status);
  }

  ImageInfo info_;
  std::vector<std::byte> bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ImageRequest*> held_;
  std::vector<ImageOp> seen_;
  bool free_ = false;
};

}  // namespace xenblk::test
