// A new block gets a place in the file.
#include <algorithm>
#include <cassert>
#include <cerrno>

#include "vhd/block_jobs_inline.h"
#include "vhd/zeroes.h"

namespace xenblk::vhd {

void BlockJobs::take_slot(Job& job) {
  {
    const std::lock_guard lock(mutex_);
    assert(slots_.has_value());
    const auto slot = slots_->take(job.work.block);
    if (slot) {
      job.slot = *slot;
      job.step = Step::busy;
      allocated_ = true;
    } else if (moving_footer_) {
      job.step = Step::waits_for_extent;
      return;
    } else {
      job.slot = {};
      const auto extent = slots_->next_extent(std::max<std::uint64_t>(1, blocks_unallocated_));
      moving_footer_ = extent.has_value();
      job.extent = extent.value_or(Extent{});
    }
  }
  if (job.slot.range.bytes != 0) return job.slot.dirty ? scrub(job) : use_slot(job);
  if (job.extent.footer_offset != 0) return move_footer(job);
  finish_job_later(job, IoStatus::no_space);
}

void BlockJobs::move_footer(Job& job) {
  submit<&BlockJobs::footer_written>(job, IoKind::write, {job.extent.footer_offset, kFooterBytes},
                                     footer_.data());
}

void BlockJobs::footer_written(Job& job, std::int64_t result) {
  if (result < 0) return finish_move(job, status_from_result(result));
  submit<&BlockJobs::footer_synced>(job, IoKind::sync_data, {}, nullptr);
}

void BlockJobs::footer_synced(Job& job, std::int64_t result) {
  if (result < 0) context_.syncs.missed_failure();
  finish_move(job, status_from_result(result));
}

// After a failure the footer's old place still counts, and the next attempt writes to the same new
// one.
void BlockJobs::finish_move(Job& job, IoStatus status) {
  {
    const std::lock_guard lock(mutex_);
    moving_footer_ = false;
    if (status == IoStatus::okay) slots_->add(job.extent);
    for (auto& other : jobs_) {
      if (other.step != Step::waits_for_extent) continue;
      other.step = Step::busy;
      if (status == IoStatus::okay) {
        post<&BlockJobs::take_slot>(other);
      } else {
        auto& leader = *other.leader;
        settle(other, status);
        leader.engine->post(leader.task);
      }
    }
  }
  if (status != IoStatus::okay) return finish_job(job, status);
  take_slot(job);
}

// A failed write left something in the slot, or it is on a device. What is there must be gone for
// good before the table refers to the slot.
void BlockJobs::scrub(Job& job) {
  submit<&BlockJobs::scrubbed>(job, IoKind::punch_hole, scrub_range(job), nullptr);
}

// Under clear bits a differencing image may have anything.
ByteRange BlockJobs::scrub_range(const Job& job) const {
  if (job.kind != Kind::place) return job.slot.range;
  const auto start = job.slot.range.start;
  return {start, context_.leaf.shape.data_offset(job.slot.entry) - start};
}

void BlockJobs::scrubbed(Job& job, std::int64_t result) {
  if (result == -EOPNOTSUPP) {
    job.scrubbed_bytes = 0;
    return scrub_with_zeroes(job);
  }
  if (result < 0) return leave_slot(job, status_from_result(result));
  submit<&BlockJobs::scrub_synced>(job, IoKind::sync_data, {}, nullptr);
}

void BlockJobs::scrub_with_zeroes(Job& job) {
  const auto range = scrub_range(job);
  const auto& zeroes = shared_zeroes();
  const auto bytes = std::min<std::uint64_t>(range.bytes - job.scrubbed_bytes, zeroes.size());
  if (bytes == 0) return submit<&BlockJobs::scrub_synced>(job, IoKind::sync_data, {}, nullptr);
  const ByteRange next{range.start + job.scrubbed_bytes, bytes};
  job.scrubbed_bytes += bytes;
  submit<&BlockJobs::zeroes_written>(job, IoKind::write, next, zeroes.data());
}

void BlockJobs::zeroes_written(Job& job, std::int64_t result) {
  if (result < 0) return leave_slot(job, status_from_result(result));
  scrub_with_zeroes(job);
}

void BlockJobs::scrub_synced(Job& job, std::int64_t result) {
  if (result >= 0) return use_slot(job);
  context_.syncs.missed_failure();
  leave_slot(job, status_from_result(result));
}

void BlockJobs::leave_slot(Job& job, IoStatus status) {
  {
    const std::lock_guard lock(mutex_);
    slots_->keep_for(job.work.block, job.slot);
  }
  finish_job(job, status);
}

void BlockJobs::use_slot(Job& job) {
  if (job.kind == Kind::allocate) return write_slot(job);
  {
    const std::lock_guard lock(mutex_);
    auto& leaf = context_.leaf;
    const auto zeroes = job.buffer.first(leaf.shape.bitmap_bytes());
    std::ranges::fill(zeroes, std::byte{0});
    leaf.bitmaps.insert(job.work.block, zeroes);
    leaf.map.publish(job.work.block, job.slot.entry, BlockState::fresh);
    --blocks_unallocated_;
  }
  // Later, since a job must not resume its leader inside start().
  finish_job_later(job, IoStatus::okay);
}

// All at once: in a hole any part of them reads as zeroes, with or without the others.
void BlockJobs::write_slot(Job& job) {
  const auto& shape = context_.leaf.shape;
  const auto& request = *job.leader;
  auto* const from = request.data + request.sectors_planned * kSectorBytes;
  const std::span data(from, job.work.part.n * kSectorBytes);
  const auto start = shape.data_offset(job.slot.entry) + job.work.sector.n * kSectorBytes;
  // All before the data: as a whole page it needs no page to be read.
  const auto head_bytes = shape.data_offset(job.slot.entry) - job.slot.range.start;
  assert(head_bytes >= shape.bitmap_bytes() && head_bytes <= slot_head_.size());
  assert(start + data.size() <= job.slot.range.end());
  const auto head = slot_head_.all().last(head_bytes);
  if (job.work.sector.n == 0 && data.size() <= kJoinedBytesMax) {
    write_joined(job, head, data);
  } else {
    job.parts_in_flight = 2;
    submit<&BlockJobs::slot_part_written>(job, IoKind::write, {start, data.size()}, data.data());
    submit<&BlockJobs::slot_part_written>(job, IoKind::write, {job.slot.range.start, head.size()},
                                          head.data());
  }
  want_table(job);
}

// What begins a block follows its bitmap: to copy a little is cheaper than to write twice.
void BlockJobs::write_joined(Job& job, std::span<const std::byte> head,
                             std::span<const std::byte> data) {
  const auto joined = joined_[static_cast<std::size_t>(&job - jobs_.data())];
  std::ranges::copy(head, joined.begin());
  std::ranges::copy(data, joined.subspan(head.size()).begin());
  job.parts_in_flight = 1;
  submit<&BlockJobs::slot_part_written>(
      job, IoKind::write, {job.slot.range.start, head.size() + data.size()}, joined.data());
}

void BlockJobs::slot_part_written(Job& job, std::int64_t result) {
  auto& leader = *job.leader;
  {
    const std::lock_guard lock(mutex_);
    assert(job.parts_in_flight > 0);
    if (job.status == IoStatus::okay) job.status = status_from_result(result);
    if (--job.parts_in_flight > 0 || job.step != Step::in_table) return;
    settle_slot(job);
  }
  go_on(leader);
}

// Under the lock. The slot and the table are written, or not. The table may tell of a slot that
// could not be written: that one is for the same block again, or for none.
void BlockJobs::settle_slot(Job& job) {
  assert(job.kind == Kind::allocate && job.parts_in_flight == 0);
  if (job.status == IoStatus::okay) {
    context_.leaf.map.publish(job.work.block, job.slot.entry, BlockState::full);
    --blocks_unallocated_;
  } else {
    metadata_write_failed();
    slots_->keep_for(job.work.block, job.slot);
  }
  settle(job, job.status);
}

void BlockJobs::want_table(Job& job) {
  {
    const std::lock_guard lock(mutex_);
    const bool in_flight = std::ranges::any_of(jobs_, [&](const Job& other) {
      return other.step == Step::writes_table && table_sector(other) == table_sector(job);
    });
    job.step = in_flight ? Step::waits_for_table : Step::writes_table;
    if (in_flight) return;
  }
  write_table(job);
}

// With the entries of all jobs that want it or have been in it.
void BlockJobs::write_table(Job& job) {
  const auto sector = table_sector(job);
  {
    const std::lock_guard lock(mutex_);
    assert(job.step == Step::writes_table);
    const auto bytes = job.buffer.first(kSectorBytes);
    context_.leaf.map.write_table_sector(sector, bytes.first<kSectorBytes>());
    for (auto& other : jobs_) {
      if (!changes_table(other) || table_sector(other) != sector) continue;
      if (other.step == Step::waits_for_table) other.step = Step::writes_table;
      store_big_endian(bytes, other.work.block.n % kEntriesPerSector * sizeof(std::uint32_t),
                       other.kind == Kind::remove ? kUnusedBlock : other.slot.entry);
    }
  }
  const auto offset = context_.table_offset + sector * kSectorBytes;
  submit<&BlockJobs::table_written>(job, IoKind::write, {offset, kSectorBytes}, job.buffer.data());
}

bool BlockJobs::changes_table(const Job& job) {
  return job.step == Step::waits_for_table || job.step == Step::writes_table ||
         job.step == Step::in_table;
}

void BlockJobs::table_written(Job& job, std::int64_t result) {
  const auto status = status_from_result(result);
  const auto sector = table_sector(job);
  const std::lock_guard lock(mutex_);
  Job* next = nullptr;
  for (auto& other : jobs_) {
    if (!changes_table(other) || table_sector(other) != sector) continue;
    if (other.step == Step::waits_for_table) next = &other;
    if (other.step == Step::writes_table) settle_table(other, status);
  }
  if (next == nullptr) return;
  // From now on others wait for it, as if its write were in flight.
  next->step = Step::writes_table;
  post<&BlockJobs::write_table>(*next);
}

// Under the lock, for each job whose entry was in the write.
void BlockJobs::settle_table(Job& job, IoStatus status) {
  auto& request = *job.leader;
  if (job.kind == Kind::remove) {
    if (status == IoStatus::okay) {
      job.step = Step::busy;
      return post<&BlockJobs::sync_removal>(job);
    }
    metadata_write_failed();
    settle(job, status);
    return request.engine->post(request.task);
  }
  job.step = Step::in_table;
  if (job.status == IoStatus::okay) job.status = status;
  if (job.parts_in_flight > 0) return;
  settle_slot(job);
  request.engine->post(request.task);
}

}  // namespace xenblk::vhd
