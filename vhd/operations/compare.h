// Finds the first difference between two images, with many requests in flight. Where both know of
// zeroes nothing is read; a hole is like zeroes.
//
// One thread: that of the engine, which should be the operation's own, because extents are looked
// up with calls that block. Memory: two buffers of `chunk` for each of `requests`.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vhd/aligned_buffer.h"
#include "vhd/operations/copy_extents.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

struct CompareProgress {
  SectorCount done;
  SectorCount total;  // of the larger disk
  std::uint64_t read_bytes = 0;
};

struct CompareOptions {
  SectorCount chunk = {2048};
  std::size_t requests = 8;
  std::array<std::string, 2> names;  // for errors
  // Both on the engine's thread; in the last of them the comparison may be destroyed.
  std::function<void(const CompareProgress&)> on_progress;
  std::function<void()> on_finished;
};

// The disk's first byte that differs; nothing when none does. The smaller disk is taken for one
// that goes on with zeroes.
using FirstDifference = std::optional<std::uint64_t>;

// Pinned: requests point into it. Once started it must live until it is finished.
class Compare {
 public:
  Compare(Image& one, Image& other, IoEngine& engine, CompareOptions options);
  ~Compare();
  Compare(const Compare&) = delete;
  Compare& operator=(const Compare&) = delete;

  // Engine's thread, once.
  void start();
  // Any thread. The result is then Errc::closed, unless all was compared.
  void stop() noexcept { stopped_.store(true, std::memory_order_relaxed); }

  bool is_finished() const { return result_.has_value(); }
  // An error counts even where a difference was found: there may be one before it.
  const Expected<FirstDifference>& result() const { return *result_; }
  const CompareProgress& progress() const { return progress_; }

 private:
  struct Slot;
  // One side's part of a chunk.
  struct Side : ImageRequest {
    Compare* compare = nullptr;
    Slot* slot = nullptr;
    AlignedBuffer buffer;
  };
  struct Slot {
    std::array<Side, 2> sides;
    SectorIndex first;
    SectorCount count;
    std::size_t reading = 0;  // sides
  };
  using Extents = std::array<ImageExtent, 2>;

  void run();
  void take_chunk(Slot& slot);
  std::optional<Extents> next_chunk(Slot& slot);
  Expected<Extents> extents_at(SectorIndex first);
  void read(Slot& slot, std::size_t side);
  void answered(Side& side);
  void compare(Slot& slot);
  void release();
  void keep_first(Error error);

  const std::array<Image*, 2> images_;
  IoEngine& engine_;
  const CompareOptions options_;
  std::array<ExtentCursor, 2> cursors_;
  std::vector<Slot> slots_;
  Task start_task_;
  std::uint64_t next_sector_ = 0;
  std::size_t busy_slots_ = 0;
  CompareProgress progress_;
  FirstDifference difference_;
  std::optional<Error> error_;
  std::optional<Expected<FirstDifference>> result_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace xenblk::vhd
