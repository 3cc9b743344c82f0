#include "ringio/slot_pool.h"

#include <cassert>

namespace xenblk::ringio {

void RequestSlot::begin_first_piece() {
  request.carries_data() ? set_piece(0, request.first) : set_bare_piece(request.first);
}

void RequestSlot::begin_next_piece() {
  assert(has_more_pieces());
  const SectorIndex next{first.n + count.n};
  request.carries_data() ? set_piece(piece_end, next) : set_bare_piece(next);
}

// Of a discard, or all of a flush, which has no sectors.
void RequestSlot::set_bare_piece(SectorIndex at) {
  const auto left = request.first.n + request.count.n - at.n;
  first = at;
  count.n = std::min(left, kDiscardPieceSectors - at.n % kDiscardPieceSectors);
}

void RequestSlot::set_piece(std::uint32_t begin, SectorIndex at) {
  piece_begin = begin;
  piece_end = std::min(begin + kPieceSegments, request.segment_count);
  first = at;
  count = {0};
  for (const Segment& segment : piece()) count.n += segment.sectors();
}

SlotPool::SlotPool(std::uint32_t slots)
    : size_(slots), slots_(std::make_unique<RequestSlot[]>(slots)) {
  assert(slots != 0);
  for (std::uint32_t i = 0; i < slots; ++i) free_.push_back(slots_[i]);
}

SlotPool::~SlotPool() {
  assert(in_use_ == 0);
  free_.clear();
}

RequestSlot* SlotPool::take() noexcept {
  if (free_.empty()) return nullptr;
  RequestSlot& slot = free_.front();
  free_.pop_front();
  ++in_use_;
  assert(in_use_ <= size_);
  slot.go(Step::taken);
  return &slot;
}

void SlotPool::give_back(RequestSlot& slot) noexcept {
  assert(in_use_ != 0);
  assert(slot.data == nullptr && slot.table == nullptr);
  slot.go(Step::free);
  slot.queue = nullptr;
  slot.answer = blkif::Status::okay;
  --in_use_;
  // At the front: its memory is the warmest.
  free_.push_front(slot);
}

}  // namespace xenblk::ringio
