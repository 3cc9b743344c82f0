// A differencing image that is being merged into its parent while its disk runs. The child stays
// what counts, with all that is written; a thread copies what the child stores into the parent,
// from the disk's beginning to its end, and what is written where it has been already goes to both.
// So once it has come to the end both show the same, and the disk can go on in the parent alone;
// and until then nothing is lost if it never does.
//
// Owns neither more nor less than its shares of both. Threads as image.h says. Unlike other images
// it takes a lock for each write: it is one for a while only.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "vhd/blocking_engine.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Written by the merge, read by whoever shows it.
struct MergeProgress {
  std::atomic<std::uint64_t> sectors_done = 0;  // of the disk, from its beginning
  std::atomic<std::uint64_t> sectors_copied = 0;
  SectorCount capacity;
};

class MergingImage final : public Image {
 public:
  struct Rate {
    std::uint64_t bytes_per_second = 0;  // that are copied; 0: as fast as it goes
  };
  // Both are of one size and open for writing; `parent` is written by nobody else.
  MergingImage(std::shared_ptr<Image> child, std::shared_ptr<Image> parent);
  ~MergingImage() override;

  // Once. `ended` runs on the merge's own thread when all is copied and on the parent's stable
  // storage, or with the reason why not; closed: finish() came before.
  using Ended = std::function<void(Expected<void>)>;
  void start(Rate rate, Ended ended);
  const std::shared_ptr<MergeProgress>& progress() const { return progress_; }

  // With no request in flight, after `ended`: everything that was written since is in the parent
  // too, and on stable storage. io: it is not.
  Expected<void> settle();
  const std::shared_ptr<Image>& parent() const { return parent_; }

  const ImageInfo& info() const override { return child_->info(); }
  SectorCount capacity() const override { return child_->capacity(); }
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override { return child_->extent_at(first); }
  // Ends the merge first. The child is whole.
  Expected<void> finish() override;

 private:
  struct Range {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };

  // merging_image.cpp: requests.
  void begin_write(ImageRequest& request) noexcept;
  static void child_written(ImageRequest& request) noexcept;
  static void parent_written(ImageRequest& request) noexcept;
  bool may_enter(const ImageRequest& request) const noexcept;
  void leave(ImageRequest& request) noexcept;
  ImageRequestList take_waiting() noexcept;
  void resume(ImageRequestList woken) noexcept;
  static Range range_of(const ImageRequest& request) {
    return {request.first.n, request.first.n + request.count.n};
  }
  static bool overlap(const Range& one, const Range& other) {
    return one.first < other.end && other.first < one.end;
  }
  void break_off(const char* why) noexcept;

  // merge_copy.cpp: the merge's own thread.
  Expected<void> copy_all(const Rate& rate);
  Expected<Range> next_range(std::uint64_t first);
  Expected<std::uint64_t> copy_range(const Range& range);
  Expected<void> copy_run(SectorIndex first, SectorCount count, std::byte* buffer);
  Expected<void> flush_parent();
  Expected<void> check_unbroken() const;
  void keep_out(const Range& range);
  void let_in(std::uint64_t copied_until);
  void wait_for_rate(const Rate& rate);
  void end_thread();

  const std::shared_ptr<Image> child_;
  const std::shared_ptr<Image> parent_;
  const std::shared_ptr<MergeProgress> progress_ = std::make_shared<MergeProgress>();

  std::mutex mutex_;
  std::condition_variable changed_;
  Range kept_out_;                  // writes there wait
  std::uint64_t copied_until_ = 0;  // writes below go to both
  // Writes under way, no two of which overlap: both images have to see them in one order. Never
  // grows.
  std::vector<const ImageRequest*> inside_;
  ImageRequestList waiting_;
  bool ending_ = false;

  // Set once; the first reason counts.
  std::atomic<const char*> broken_ = nullptr;

  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;  // set before the thread, read by it
  BlockingEngine engine_;      // the merge's own thread; settle() when that has ended
  std::thread thread_;
};

}  // namespace xenblk::vhd
