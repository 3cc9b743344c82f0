// Copies the content of one image into another, with many requests in flight. What the source knows
// to be zeroes is not read, and data that turns out to be zeroes is not written.
//
// One thread: that of the engine, which should be the operation's own, because extents are looked
// up with calls that block. Both images may be in use meanwhile; of what is written to the source
// while it is copied, any part may be in the copy. Memory: `requests` buffers of `chunk`.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vhd/aligned_buffer.h"
#include "vhd/operations/copy_extents.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

enum class TargetContent : std::uint8_t {
  zeroes,   // a new image: zeroes are left out
  unknown,  // zeroes are made: by write_zeroes, or written where the image cannot do that
  parent,   // of a source that was opened alone: only what it stores is written, zeroes too
};

struct CopyProgress {
  SectorCount done;  // of the source's capacity, zeroes that were left out included
  SectorCount total;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
};

struct CopyOptions {
  TargetContent target_content = TargetContent::unknown;
  SectorCount chunk = {2048};
  std::size_t requests = 16;
  // For errors.
  std::string source_name;
  std::string target_name;
  // On the engine's thread, after each chunk.
  std::function<void(const CopyProgress&)> on_progress;
  // On the engine's thread, last of all; the copy may be destroyed in it.
  std::function<void()> on_finished;
};

// Pinned: requests point into it. Once started it must live until it is finished.
class Copy {
 public:
  Copy(Image& source, Image& target, IoEngine& engine, CopyOptions options);
  ~Copy();
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  // Engine's thread, once. A target that is smaller than the source is refused (Errc::refused).
  // What the target has beyond the source's end is not touched. It ends with a flush of the target.
  void start();
  // Any thread. Nothing new begins; what is in flight is waited for. The result is then
  // Errc::closed, unless all was done.
  void stop() noexcept { stopped_.store(true, std::memory_order_relaxed); }

  bool is_finished() const { return result_.has_value(); }
  // After a failure the target is a sound image, and holds a part of the content; copying again
  // gives all of it. The first error counts.
  const Expected<void>& result() const { return *result_; }
  const CopyProgress& progress() const { return progress_; }

 private:
  // One chunk on its way.
  struct Slot : ImageRequest {
    Copy* copy = nullptr;
    AlignedBuffer buffer;
    SectorIndex chunk_first;
    SectorCount chunk_count;
    SectorCount handled;      // of the chunk: in the target, or left out
    bool known_zero = false;  // nothing was read
  };

  void run();
  void take_chunk(Slot& slot);
  bool next_chunk(Slot& slot);
  void write_next(Slot& slot);
  void write_data(Slot& slot, SectorCount count);
  void make_zeroes(Slot& slot, SectorCount count);
  void submit(Slot& slot, Image& image, ImageOp op, SectorCount count);
  void answered(Slot& slot);
  void okay(Slot& slot);
  void chunk_done(Slot& slot);
  void release();
  void finish();
  void keep_first(Error error);

  Image& source_;
  Image& target_;
  IoEngine& engine_;
  const CopyOptions options_;
  ExtentCursor extents_;
  std::vector<Slot> slots_;
  Task start_task_;
  std::uint64_t next_sector_ = 0;
  std::size_t busy_slots_ = 0;
  bool target_makes_zeroes_ = true;  // until it says that it cannot
  CopyProgress progress_;
  std::optional<Error> error_;
  std::optional<Expected<void>> result_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace xenblk::vhd
