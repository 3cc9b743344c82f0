// What must happen to a block before data can go to it: a new block gets a place in the file, an
// old one has its bitmap read. The slow path of an image with blocks: everything here is under one
// lock, and none of it is needed for blocks that are allocated and full.
//
// Each job is led by the request that caused it and runs on that request's engine with that
// request's pieces, so no engine carries an operation when all its requests are answered. Others
// that need the same block wait for the job. Many jobs run at once; those that change the same
// sector of the block table share its writes: one in flight, the later ones together in the next.
//
// Order, and why. A new block of a dynamic image: data, bitmap of ones and table entry all at once,
// into a hole. Whatever part of them is there after the process was killed or the power was cut,
// each sector is zeroes, which is what it was, or the new data. The answer comes when all are
// complete. When one failed, memory has no place for the block and the file may have one: so that
// place is kept for the block, and emptied before it is used. A new block of a differencing image
// only gets its place here, with a bitmap of zeroes; data, bitmap and table follow by BitmapCommit.
// The footer: written at the new end and synced before the room below it is used, so that a footer
// is always at the end.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "vhd/aligned_buffer.h"
#include "vhd/block_level.h"
#include "vhd/buffer_set.h"
#include "vhd/flush_group.h"
#include "vhd/format/footer.h"
#include "vhd/slot_allocator.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// What jobs work on; it outlives them.
struct BlockJobsContext {
  BlockLevel& leaf;
  bool differencing = false;
  std::uint64_t table_offset = 0;
  std::uint64_t end_of_metadata = 0;
  std::uint64_t bitmap_bytes_max = 0;  // of the leaf and its parents
  FlushGroup& syncs;
};

enum class BlockNeed : std::uint8_t {
  bitmap,  // known
  place,   // in the file
  gone,    // the table on stable storage does not refer to it; dynamic images, full blocks
  absent,  // the same for one that memory has no place for, after a write of the table failed
};

struct BlockWork {
  BlockNeed need = BlockNeed::bitmap;
  BlockLevel* level = nullptr;  // the leaf, or for a bitmap one of its parents
  BlockIndex block;
  // What the request writes to the block.
  SectorIndex sector;
  SectorCount part;
};

class BlockJobs {
 public:
  // `resume` runs on the request's thread when the request may look at its block again.
  using Resume = void (*)(ImageRequest&, IoStatus) noexcept;

  BlockJobs(const BlockJobsContext& context, Resume resume);
  BlockJobs(const BlockJobs&) = delete;
  BlockJobs& operator=(const BlockJobs&) = delete;
  ~BlockJobs();

  // Before the first request, for an image that is open for writing.
  void allow_writing(SlotAllocator slots, const FooterBytes& footer);

  // False: the block has by now what is needed. True: the request waits, with all its pieces, until
  // `resume`. A request that leads an allocation in a dynamic image has written its part when it
  // resumes, and its sectors_planned has moved on.
  bool start(ImageRequest& request, const BlockWork& work) noexcept;

  // `reclaim` runs, instead of `resume`, on the thread of a request that led the removal of a
  // block: the entry is the block's old place, which is nobody's now. The request goes on by
  // resume_now().
  using Reclaim = void (*)(ImageRequest&, std::uint32_t entry) noexcept;
  void allow_removing(Reclaim reclaim) { reclaim_ = reclaim; }
  void resume_now(ImageRequest& request) { go_on(request); }
  void reuse(std::uint32_t entry, bool empty);

  struct PlacedBlock {
    BlockIndex block;
    std::uint32_t entry = kUnusedBlock;
  };
  // From BitmapCommit: this is the block's bitmap in the file now, unless the block was given up
  // and has another place or none. `in_table`: and the table refers to the block.
  void bitmap_written(const PlacedBlock& placed, std::span<const std::byte> bits, bool in_table);
  // The file may say more than memory does: a slot that is not in the map, bits that are not set.
  void metadata_write_failed() { doubtful_.store(true); }
  // True from then on: what memory has not, may still be in the file.
  bool is_doubtful() const { return doubtful_.load(std::memory_order_relaxed); }

  // Makes the file as small as it can be: off the data path, when no request is in flight.
  Expected<void> finish();

 private:
  enum class Kind : std::uint8_t { allocate, place, load, remove };
  enum class Step : std::uint8_t {
    idle,
    busy,
    waits_for_extent,
    waits_for_table,
    writes_table,
    in_table
  };
  struct Job {
    BlockJobs* owner = nullptr;
    Step step = Step::idle;
    Kind kind = Kind::load;
    BlockWork work;
    bool outdated = false;  // the bitmap that it reads was written in the meantime
    ImageRequest* leader = nullptr;
    TaskList waiters;
    Slot slot;
    Extent extent;
    unsigned parts_in_flight = 0;
    std::uint64_t scrubbed_bytes = 0;
    IoStatus status = IoStatus::okay;
    std::span<std::byte> buffer;  // a bitmap or a sector of the table
  };
  static constexpr std::uint64_t kJoinedBytesMax = 16 * 1024;
  using JobStep = void (BlockJobs::*)(Job&);
  using JobDone = void (BlockJobs::*)(Job&, std::int64_t result);

  // block_jobs.cpp: who leads, who waits, who goes on.
  Kind kind_for(BlockNeed need) const;
  static bool has(const BlockWork& work);
  Job* find(const BlockWork& work);
  Job* find_idle();
  void park(ImageRequest& request);
  void wake(TaskList& waiting);
  void settle(Job& job, IoStatus status);
  void finish_job(Job& job, IoStatus status);
  void finish_job_later(Job& job, IoStatus status);
  void go_on(ImageRequest& request);
  template <JobStep step>
  void post(Job& job);
  template <JobDone done>
  void submit(Job& job, IoKind kind, ByteRange range, std::byte* buffer);
  void begin(Job& job);

  // block_allocation.cpp
  void take_slot(Job& job);
  void move_footer(Job& job);
  void footer_written(Job& job, std::int64_t result);
  void footer_synced(Job& job, std::int64_t result);
  void finish_move(Job& job, IoStatus status);
  void scrub(Job& job);
  void scrubbed(Job& job, std::int64_t result);
  void scrub_with_zeroes(Job& job);
  void zeroes_written(Job& job, std::int64_t result);
  ByteRange scrub_range(const Job& job) const;
  void scrub_synced(Job& job, std::int64_t result);
  void leave_slot(Job& job, IoStatus status);
  void use_slot(Job& job);
  void write_slot(Job& job);
  void write_joined(Job& job, std::span<const std::byte> head, std::span<const std::byte> data);
  void slot_part_written(Job& job, std::int64_t result);
  void settle_slot(Job& job);
  void want_table(Job& job);
  void write_table(Job& job);
  void table_written(Job& job, std::int64_t result);
  void settle_table(Job& job, IoStatus status);
  static bool changes_table(const Job& job);
  std::uint64_t table_sector(const Job& job) const { return job.work.block.n / kEntriesPerSector; }

  // block_removal.cpp
  void remove(Job& job);
  void withdraw(const Job& job);
  void sync_removal(Job& job);
  void removal_synced(Job& job, IoStatus status);

  // block_bitmap.cpp
  void load_bitmap(Job& job);
  void bitmap_loaded(Job& job, std::int64_t result);

  // block_finish.cpp
  Expected<void> rewrite_table();
  std::uint64_t end_of_used() const;

  BlockJobsContext context_;
  Resume resume_;
  Reclaim reclaim_ = nullptr;
  AlignedBuffer slot_head_;  // a full bitmap, at the end of whole pages
  AlignedBuffer footer_;

  std::mutex mutex_;
  std::vector<Job> jobs_;
  BufferSet buffers_;  // of each job
  BufferSet joined_;   // of each job: a head and what follows it
  TaskList waiting_for_job_;
  std::optional<SlotAllocator> slots_;
  bool moving_footer_ = false;
  bool allocated_ = false;  // since the image was opened
  std::atomic<bool> doubtful_ = false;
  std::uint64_t blocks_unallocated_ = 0;
};

}  // namespace xenblk::vhd
