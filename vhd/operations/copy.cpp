#include "vhd/operations/copy.h"

#include <boost/intrusive/parent_from_member.hpp>
#include <cassert>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "vhd/operations/copy_failure.h"
#include "vhd/operations/copy_runs.h"

namespace xenblk::vhd {
namespace {

// A single request for zeroes makes no more, so that progress is seen and stop() is heard.
constexpr std::uint64_t kZeroSectorsMax = (std::uint64_t{1} << 30) / kSectorBytes;

}  // namespace

Copy::Copy(Image& source, Image& target, IoEngine& engine, CopyOptions options)
    : source_(source),
      target_(target),
      engine_(engine),
      options_(std::move(options)),
      extents_(source),
      slots_(options_.requests) {
  assert(options_.requests > 0 && options_.chunk.n > 0);
  for (auto& slot : slots_) {
    slot.copy = this;
    slot.engine = &engine;
    slot.buffer = AlignedBuffer(options_.chunk.n * kSectorBytes);
  }
  progress_.total = source.info().capacity;
}

Copy::~Copy() {
  assert(busy_slots_ == 0);
}

void Copy::start() {
  start_task_.run = [](Task& task) noexcept {
    boost::intrusive::get_parent_from_member(&task, &Copy::start_task_)->run();
  };
  engine_.post(start_task_);
}

void Copy::run() {
  if (target_.info().capacity.n < progress_.total.n) {
    keep_first(fail(Errc::refused,
                    fmt::format("{}: {} sectors are too few for the {} of {}", options_.target_name,
                                target_.info().capacity.n, progress_.total.n, options_.source_name))
                   .error());
  }
  // All are busy until each has looked for work, so that none of them ends the whole before.
  busy_slots_ = slots_.size();
  for (auto& slot : slots_) take_chunk(slot);
}

// The slot's next chunk, or the slot's end.
void Copy::take_chunk(Slot& slot) {
  if (!next_chunk(slot)) return release();
  if (slot.known_zero) return write_next(slot);
  submit(slot, source_, ImageOp::read, slot.chunk_count);
}

bool Copy::next_chunk(Slot& slot) {
  while (!error_ && !stopped_.load(std::memory_order_relaxed) && next_sector_ < progress_.total.n) {
    const SectorIndex first{next_sector_};
    const auto extent = extents_.at(first);
    if (!extent) {
      keep_first(extent.error());
      return false;
    }
    const bool zero = extent->kind == ImageExtent::Kind::zero;
    if (zero && options_.target_content != TargetContent::unknown) {
      next_sector_ += extent->count.n;
      progress_.done.n += extent->count.n;
      continue;
    }
    // Chunks end at multiples of their size: those of a new block lie in one block.
    const auto limit = zero ? kZeroSectorsMax : options_.chunk.n - first.n % options_.chunk.n;
    const SectorCount count{std::min(extent->count.n, limit)};
    next_sector_ += count.n;
    slot.chunk_first = first;
    slot.chunk_count = count;
    slot.handled = {};
    slot.known_zero = zero;
    return true;
  }
  return false;
}

void Copy::write_next(Slot& slot) {
  while (!error_ && slot.handled.n < slot.chunk_count.n) {
    const SectorCount left{slot.chunk_count.n - slot.handled.n};
    if (slot.known_zero) return make_zeroes(slot, left);
    const auto rest =
        slot.buffer.first(slot.chunk_count.n * kSectorBytes).subspan(slot.handled.n * kSectorBytes);
    const auto run = next_run(rest, {slot.chunk_first.n + slot.handled.n});
    if (!run.zero) return write_data(slot, run.count);
    if (options_.target_content != TargetContent::zeroes) return make_zeroes(slot, run.count);
    slot.handled.n += run.count.n;
  }
  chunk_done(slot);
}

void Copy::write_data(Slot& slot, SectorCount count) {
  submit(slot, target_, ImageOp::write, count);
}

// Where the target cannot make zeroes itself, the buffer has them.
void Copy::make_zeroes(Slot& slot, SectorCount count) {
  if (target_makes_zeroes_) return submit(slot, target_, ImageOp::write_zeroes, count);
  if (!slot.known_zero) return write_data(slot, count);
  std::memset(slot.buffer.data(), 0, slot.buffer.size());
  const SectorCount part{std::min(count.n, options_.chunk.n)};
  submit(slot, target_, ImageOp::write, part);
}

void Copy::submit(Slot& slot, Image& image, ImageOp op, SectorCount count) {
  slot.op = op;
  slot.first = {slot.chunk_first.n + slot.handled.n};
  slot.count = count;
  const auto at = slot.known_zero ? 0 : slot.handled.n * kSectorBytes;
  slot.data = slot.buffer.data() + at;
  slot.done = [](ImageRequest& request) noexcept {
    auto& own = static_cast<Slot&>(request);
    own.copy->answered(own);
  };
  image.submit(slot);
}

void Copy::answered(Slot& slot) {
  if (slot.op == ImageOp::write_zeroes && slot.status == IoStatus::unsupported) {
    target_makes_zeroes_ = false;
    return write_next(slot);
  }
  if (slot.status == IoStatus::okay) return okay(slot);
  const bool reads = slot.op == ImageOp::read;
  const auto* const what = reads ? "read" : slot.op == ImageOp::flush ? "flush" : "write";
  keep_first(
      request_failed(reads ? options_.source_name : options_.target_name, what, slot).error());
  release();
}

void Copy::okay(Slot& slot) {
  const auto bytes = slot.count.n * kSectorBytes;
  switch (slot.op) {
    case ImageOp::read:
      progress_.read_bytes += bytes;
      return write_next(slot);
    case ImageOp::write:
      progress_.written_bytes += bytes;
      slot.handled.n += slot.count.n;
      return write_next(slot);
    case ImageOp::write_zeroes:
      slot.handled.n += slot.count.n;
      return write_next(slot);
    case ImageOp::flush:
      return finish();
    case ImageOp::discard:
      break;
  }
  assert(false);
}

void Copy::chunk_done(Slot& slot) {
  if (error_) return release();
  progress_.done.n += slot.chunk_count.n;
  if (options_.on_progress) options_.on_progress(progress_);
  take_chunk(slot);
}

// The last one ends the whole.
void Copy::release() {
  assert(busy_slots_ > 0);
  if (--busy_slots_ > 0) return;
  if (!error_ && next_sector_ < progress_.total.n) keep_first(operation_stopped().error());
  if (error_) return finish();
  busy_slots_ = 1;
  submit(slots_.front(), target_, ImageOp::flush, {});
}

void Copy::finish() {
  busy_slots_ = 0;
  result_ = error_ ? Expected<void>(std::unexpected(*error_)) : Expected<void>{};
  // Copied: the copy may be gone when it returns.
  if (const auto on_finished = options_.on_finished; on_finished) on_finished();
}

void Copy::keep_first(Error error) {
  if (!error_) error_ = std::move(error);
}

}  // namespace xenblk::vhd
