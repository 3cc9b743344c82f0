#include "vhd/operations/compare.h"

#include <algorithm>
#include <boost/intrusive/parent_from_member.hpp>
#include <cassert>
#include <cstring>
#include <utility>

#include "vhd/operations/copy_failure.h"

namespace xenblk::vhd {

Compare::Compare(Image& one, Image& other, IoEngine& engine, CompareOptions options)
    : images_{&one, &other},
      engine_(engine),
      options_(std::move(options)),
      cursors_{ExtentCursor(one), ExtentCursor(other)},
      slots_(options_.requests) {
  assert(options_.requests > 0 && options_.chunk.n > 0);
  for (auto& slot : slots_) {
    for (auto& side : slot.sides) {
      side.compare = this;
      side.slot = &slot;
      side.engine = &engine;
      side.buffer = AlignedBuffer(options_.chunk.n * kSectorBytes);
    }
  }
  progress_.total = std::max(one.info().capacity, other.info().capacity);
}

Compare::~Compare() {
  assert(busy_slots_ == 0);
}

void Compare::start() {
  start_task_.run = [](Task& task) noexcept {
    boost::intrusive::get_parent_from_member(&task, &Compare::start_task_)->run();
  };
  engine_.post(start_task_);
}

void Compare::run() {
  // All are busy until each has looked for work, so that none of them ends the whole before.
  busy_slots_ = slots_.size();
  for (auto& slot : slots_) take_chunk(slot);
}

void Compare::take_chunk(Slot& slot) {
  const auto extents = next_chunk(slot);
  if (!extents) return release();
  slot.reading = 0;
  for (std::size_t side = 0; side < 2; ++side) {
    const auto bytes = slot.count.n * kSectorBytes;
    if ((*extents)[side].kind == ImageExtent::Kind::zero) {
      std::memset(slot.sides[side].buffer.data(), 0, bytes);
    } else {
      ++slot.reading;
    }
  }
  for (std::size_t side = 0; side < 2; ++side) {
    if ((*extents)[side].kind == ImageExtent::Kind::data) read(slot, side);
  }
}

// The next chunk that has to be looked at. Nothing: there is none, or none needs to be looked at
// any more; chunks begin in order, so those before a difference are on their way when it is found.
std::optional<Compare::Extents> Compare::next_chunk(Slot& slot) {
  while (!error_ && !difference_ && !stopped_.load(std::memory_order_relaxed) &&
         next_sector_ < progress_.total.n) {
    slot.first = {next_sector_};
    auto extents = extents_at(slot.first);
    if (!extents) {
      keep_first(extents.error());
      return {};
    }
    const bool data = std::ranges::any_of(
        *extents, [](const auto& one) { return one.kind == ImageExtent::Kind::data; });
    const auto limit =
        data ? options_.chunk.n - slot.first.n % options_.chunk.n : ~std::uint64_t{0};
    slot.count = {std::min(
        {(*extents)[0].count.n, (*extents)[1].count.n, limit, progress_.total.n - slot.first.n})};
    next_sector_ += slot.count.n;
    if (data) return *extents;
    progress_.done.n += slot.count.n;
  }
  return {};
}

Expected<Compare::Extents> Compare::extents_at(SectorIndex first) {
  Extents extents;
  for (std::size_t side = 0; side < 2; ++side) {
    auto found = cursors_[side].at(first);
    if (!found) return std::unexpected(found.error());
    extents[side] = *found;
  }
  return extents;
}

void Compare::read(Slot& slot, std::size_t side) {
  auto& request = slot.sides[side];
  request.op = ImageOp::read;
  request.first = slot.first;
  request.count = slot.count;
  request.data = request.buffer.data();
  request.done = [](ImageRequest& answer) noexcept {
    auto& own = static_cast<Side&>(answer);
    own.compare->answered(own);
  };
  images_[side]->submit(request);
}

void Compare::answered(Side& side) {
  auto& slot = *side.slot;
  if (side.status == IoStatus::okay) {
    progress_.read_bytes += side.count.n * kSectorBytes;
  } else {
    const auto number = static_cast<std::size_t>(&side - slot.sides.data());
    keep_first(request_failed(options_.names[number], "read", side).error());
  }
  if (--slot.reading > 0) return;
  if (error_) return release();
  compare(slot);
}

void Compare::compare(Slot& slot) {
  const auto bytes = slot.count.n * kSectorBytes;
  const auto one = slot.sides[0].buffer.first(bytes);
  const auto other = slot.sides[1].buffer.first(bytes);
  if (std::memcmp(one.data(), other.data(), bytes) != 0) {
    const auto at = std::ranges::mismatch(one, other).in1 - one.begin();
    const auto position = slot.first.n * kSectorBytes + static_cast<std::uint64_t>(at);
    difference_ = std::min(difference_.value_or(position), position);
  }
  progress_.done.n += slot.count.n;
  if (options_.on_progress) options_.on_progress(progress_);
  take_chunk(slot);
}

// The last one ends the whole.
void Compare::release() {
  assert(busy_slots_ > 0);
  if (--busy_slots_ > 0) return;
  const bool complete = difference_ || next_sector_ >= progress_.total.n;
  if (!complete) keep_first(operation_stopped().error());
  result_ = error_ ? Expected<FirstDifference>(std::unexpected(*error_)) : difference_;
  // Copied: the comparison may be gone when it returns.
  if (const auto on_finished = options_.on_finished; on_finished) on_finished();
}

void Compare::keep_first(Error error) {
  if (!error_) error_ = std::move(error);
}

}  // namespace xenblk::vhd
