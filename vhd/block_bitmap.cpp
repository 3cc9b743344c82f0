// A block that was there before: its bitmap is read, and what is missing filled before it is
// written.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "vhd/block_jobs_inline.h"

namespace xenblk::vhd {

void BlockJobs::load_bitmap(Job& job) {
  const auto range = context_.shape.range(context_.map.entry(job.block));
  submit<&BlockJobs::bitmap_loaded>(job, IoKind::read, {range.start, job.buffer.size()},
                                    job.buffer.data());
}

void BlockJobs::bitmap_loaded(Job& job, std::int64_t result) {
  if (result < 0) return finish_job(job, status_from_result(result));
  // A file that ends within its last block has no sector there.
  const auto bits = job.buffer.all();
  std::ranges::fill(bits.subspan(static_cast<std::size_t>(result)), std::byte{0});
  const auto run = bitmap_run(bits, 0, context_.shape.block_sectors());
  const bool full = run.present && run.sectors == context_.shape.block_sectors();
  if (!full && job.kind == Kind::fill) {
    job.filled_sectors = 0;
    return fill_next(job);
  }
  if (full) {
    context_.map.set_state(job.block, BlockState::full);
  } else {
    context_.bitmaps.insert(job.block, bits);
    context_.map.set_state(job.block, BlockState::partial);
  }
  finish_job(job, IoStatus::okay);
}

// Writes zeroes where the bitmap has none, a piece at a time: this happens once in a block's life,
// and only to blocks of other programs.
void BlockJobs::fill_next(Job& job) {
  const auto& shape = context_.shape;
  while (job.filled_sectors < shape.block_sectors()) {
    const auto run = bitmap_run(job.buffer.all(), job.filled_sectors,
                                shape.block_sectors() - job.filled_sectors);
    if (run.present) {
      job.filled_sectors += run.sectors;
      continue;
    }
    const auto bytes = std::min(run.sectors * kSectorBytes, zeroes_.size());
    const auto offset =
        shape.data_offset(context_.map.entry(job.block)) + job.filled_sectors * kSectorBytes;
    job.filled_sectors += bytes / kSectorBytes;
    return submit<&BlockJobs::filled>(job, IoKind::write, {offset, bytes}, zeroes_.data());
  }
  // The zeroes must be there for good before the bitmap says that they count.
  submit<&BlockJobs::fill_synced>(job, IoKind::sync_data, {}, nullptr);
}

void BlockJobs::filled(Job& job, std::int64_t result) {
  if (result < 0) return finish_job(job, status_from_result(result));
  fill_next(job);
}

void BlockJobs::fill_synced(Job& job, std::int64_t result) {
  if (result < 0) return finish_job(job, status_from_result(result));
  const auto range = context_.shape.range(context_.map.entry(job.block));
  submit<&BlockJobs::filled_bitmap_written>(job, IoKind::write, {range.start, ones_.size()},
                                            ones_.data());
}

void BlockJobs::filled_bitmap_written(Job& job, std::int64_t result) {
  if (result < 0) return finish_job(job, status_from_result(result));
  context_.map.set_state(job.block, BlockState::full);
  context_.bitmaps.erase(job.block);
  finish_job(job, IoStatus::okay);
}

}  // namespace xenblk::vhd
