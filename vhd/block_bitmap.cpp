// A block that was there before: its bitmap is read.
#include <algorithm>
#include <cassert>
#include <utility>

#include "vhd/block_jobs_inline.h"

namespace xenblk::vhd {

void BlockJobs::load_bitmap(Job& job) {
  const auto& level = *job.work.level;
  const auto start = level.shape.range(level.map.entry(job.work.block)).start;
  submit<&BlockJobs::bitmap_loaded>(job, IoKind::read, {start, level.shape.bitmap_bytes()},
                                    job.buffer.data());
}

void BlockJobs::bitmap_loaded(Job& job, std::int64_t result) {
  if (result < 0) return finish_job(job, status_from_result(result));
  auto& level = *job.work.level;
  // A file that ends within its last block has no sector there.
  const auto bits = job.buffer.first(level.shape.bitmap_bytes());
  std::ranges::fill(bits.subspan(static_cast<std::size_t>(result)), std::byte{0});
  auto& leader = *job.leader;
  bool outdated = false;
  {
    const std::lock_guard lock(mutex_);
    outdated = std::exchange(job.outdated, false);
    if (!outdated) {
      level.learn(job.work.block, bits);
      settle(job, IoStatus::okay);
    }
  }
  if (outdated) return load_bitmap(job);
  go_on(leader);
}

void BlockJobs::bitmap_written(const PlacedBlock& placed, std::span<const std::byte> bits,
                               bool in_table) {
  const std::lock_guard lock(mutex_);
  auto& leaf = context_.leaf;
  const auto block = placed.block;
  if (leaf.map.entry(block) != placed.entry) return;
  for (auto& job : jobs_) {
    const bool same = job.work.level == &leaf && job.work.block == block;
    if (job.step != Step::idle && job.kind == Kind::load && same) job.outdated = true;
  }
  if (in_table) {
    leaf.learn(block, bits);
  } else {
    leaf.bitmaps.insert(block, bits);
  }
}

}  // namespace xenblk::vhd
