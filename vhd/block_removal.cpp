// A block is given up as a whole: table entry "unused", on stable storage, and only then its place
// is free. Whatever fails, the block stays unused in memory and its place is not used again before
// the next opening: the file may say either.
#include <cassert>

#include "vhd/block_jobs_inline.h"

namespace xenblk::vhd {

void BlockJobs::remove(Job& job) {
  {
    const std::lock_guard lock(mutex_);
    auto& map = context_.leaf.map;
    job.slot = {.entry = map.entry(job.work.block)};
    assert((job.slot.entry == kUnusedBlock) == (job.work.need == BlockNeed::absent));
    if (job.work.need == BlockNeed::gone) withdraw(job);
  }
  want_table(job);
}

// It was full when this was asked for. A batch that has ended since may take it for a partial one
// again, if a write of its bitmap had failed and was done all the same; it goes either way.
void BlockJobs::withdraw(const Job& job) {
  context_.leaf.map.withdraw(job.work.block);
  ++blocks_unallocated_;
  allocated_ = true;
}

void BlockJobs::sync_removal(Job& job) {
  scratch(*job.leader, Scratch::waits_for) = reinterpret_cast<std::uintptr_t>(&job);
  context_.syncs.sync(*job.leader, [](ImageRequest& request, IoStatus status) noexcept {
    auto& synced = scratch_object<Job>(request, Scratch::waits_for);
    synced.owner->removal_synced(synced, status);
  });
}

void BlockJobs::removal_synced(Job& job, IoStatus status) {
  auto& leader = *job.leader;
  const auto entry = job.slot.entry;
  {
    const std::lock_guard lock(mutex_);
    if (status != IoStatus::okay) {
      metadata_write_failed();
    } else {
      slots_->release(job.work.block);
    }
    settle(job, status);
  }
  if (status != IoStatus::okay || entry == kUnusedBlock) return go_on(leader);
  // Others may use the block again by now; the old place is all that this request still has.
  reclaim_(leader, entry);
}

void BlockJobs::reuse(std::uint32_t entry, bool empty) {
  const std::lock_guard lock(mutex_);
  slots_->reuse(entry, empty);
}

}  // namespace xenblk::vhd
