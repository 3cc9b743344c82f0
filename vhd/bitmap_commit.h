// Sectors that were written where the bitmap does not have them yet begin to count. A bit that says
// "here" over a sector that a power cut has lost would show zeroes in place of the parent's data,
// so a bit is written only after its data is on stable storage:
//
//   data of each request  ->  one sync for all that wait  ->  bitmaps and table sectors  -> answers
//
// Requests that arrive while a batch is under way wait for the next. So many requests to one block
// run in parallel, and the block's bitmap is written once a batch. A power cut between the last two
// steps leaves any part of them: a bitmap that no table refers to, a table that refers to a bitmap
// of zeroes (slots are holes), or both.
//
// A batch is led by one of its requests and runs on that request's engine, so no engine carries an
// operation when all its requests are answered. Owned by an image; join() from any thread.
#pragma once

#include <mutex>
#include <vector>

#include "vhd/block_jobs.h"
#include "vhd/block_level.h"
#include "vhd/buffer_set.h"
#include "vhd/flush_group.h"

namespace xenblk::vhd {

struct BitmapCommitContext {
  BlockLevel& leaf;
  BlockJobs& jobs;
  FlushGroup& syncs;
  std::uint64_t table_offset = 0;
};

class BitmapCommit {
 public:
  // `then` runs when the sectors count, or with why they do not.
  BitmapCommit(const BitmapCommitContext& context, Then then);
  BitmapCommit(const BitmapCommit&) = delete;
  BitmapCommit& operator=(const BitmapCommit&) = delete;
  ~BitmapCommit();

  // The request has written its part: its next sectors in one block of the leaf, which has a place.
  // It has no piece in flight.
  void join(ImageRequest& request) noexcept;

 private:
  struct Change : IoOp {
    BitmapCommit* owner = nullptr;
    std::span<std::byte> content;
    IoStatus status = IoStatus::okay;
  };
  struct BitmapChange : Change {
    BlockIndex block;
    std::uint32_t entry = kUnusedBlock;
    bool fresh = false;  // the table must be told, too
    bool full = false;   // since the request was planned: there is nothing to do
  };
  struct TableChange : Change {
    std::uint64_t sector = 0;
  };
  using ChangeDone = void (BitmapCommit::*)(Change&);

  void begin(ImageRequest& leader);
  void gather();
  bool admit(BlockIndex block);
  BitmapChange& change_of(BlockIndex block);
  void read_bitmaps();
  void synced(IoStatus status);
  void bitmap_read(Change& change);
  void part_done();
  void write();
  void set_bits();
  void add_to_table(const BitmapChange& change);
  void change_written(Change& change);
  void conclude();
  bool in_table(const BitmapChange& change) const;
  void fail_all(IoStatus status);
  void answer_all();
  void next();
  void set_bits_of(const ImageRequest& request);
  template <ChangeDone done>
  void submit(Change& change, IoKind kind, std::uint64_t offset);
  static BitmapCommit& of(ImageRequest& request);

  const BitmapCommitContext context_;
  const Then then_;

  std::mutex mutex_;
  bool running_ = false;
  TaskList waiting_;

  // Of the batch that is under way: its leader's thread only.
  ImageRequest* leader_ = nullptr;
  TaskList batch_;  // without the leader
  IoStatus sync_status_ = IoStatus::okay;
  std::size_t parts_in_flight_ = 0;
  bool writing_ = false;
  std::vector<BitmapChange> bitmaps_;
  std::size_t bitmaps_used_ = 0;
  std::vector<TableChange> tables_;
  std::size_t tables_used_ = 0;
  BufferSet bitmap_buffers_;
  BufferSet table_buffers_;
};

}  // namespace xenblk::vhd
