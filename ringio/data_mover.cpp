#include "ringio/data_mover.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "ringio/queue.h"

namespace xenblk::ringio {
namespace {

void begin_move(Queue& queue) {
  if (queue.grant_cache() != nullptr) queue.grant_cache()->begin_move();
}

std::size_t table_pages(const Request& request) {
  return (request.table_bytes() + kPageBytes - 1) / kPageBytes;
}

// At most so many; fewer when pages of it stay mapped.
std::size_t copies_of(const RequestSlot& slot, Movement what) {
  return what == Movement::table_in ? table_pages(slot.request) : slot.piece().size();
}

}  // namespace

DataMover::DataMover(GrantTable& table, std::size_t segments_max)
    : table_(table), segments_max_(segments_max) {
  assert(segments_max >= kPieceSegments);
  segments_.reserve(segments_max);
}

void DataMover::move(DomainId peer, SlotList& slots, Movement what) noexcept {
  auto first = slots.begin();
  const Queue* queue = nullptr;
  for (auto slot = slots.begin(); slot != slots.end(); ++slot) {
    assert(slot->request.carries_data());
    if (slot->queue != queue) begin_move(*slot->queue);
    queue = slot->queue;
    if (segments_.size() + copies_of(*slot, what) > segments_max_) {
      run(peer, first, slot, what);
      first = slot;
    }
    slot->copies = 0;
    what == Movement::table_in ? add_table(*slot) : add_piece(*slot, what);
  }
  if (!segments_.empty()) run(peer, first, slots.end(), what);
}

void DataMover::add_piece(RequestSlot& slot, Movement what) noexcept {
  std::byte* local = slot.data;
  GrantCache* const cache = slot.queue->grant_cache();
  for (const Segment& segment : slot.piece()) {
    const auto bytes = static_cast<std::uint16_t>(segment.sectors() * kSectorBytes);
    const auto offset = static_cast<std::uint16_t>(segment.first_sect * kSectorBytes);
    assert(offset + bytes <= static_cast<int>(kPageBytes));
    std::byte* const page = cache == nullptr ? nullptr : cache->find(segment.ref);
    if (page == nullptr) {
      add(slot, {segment.ref, offset, bytes, local, CopyStatus::failed});
    } else if (what == Movement::data_in) {
      std::memcpy(local, page + offset, bytes);
    } else {
      std::memcpy(page + offset, local, bytes);
    }
    local += bytes;
  }
  assert(local == slot.data + slot.count.n * kSectorBytes);
  assert(segments_.size() <= segments_max_);
}

void DataMover::add(RequestSlot& slot, const GrantCopy& copy) noexcept {
  segments_.push_back(copy);
  ++slot.copies;
}

void DataMover::add_table(RequestSlot& slot) noexcept {
  std::uint32_t left = slot.request.table_bytes();
  std::byte* local = slot.table;
  for (std::size_t page = 0; page < table_pages(slot.request); ++page) {
    const auto bytes = static_cast<std::uint16_t>(std::min(left, kPageBytes));
    add(slot, {slot.request.table_refs[page], 0, bytes, local, CopyStatus::failed});
    local += bytes;
    left -= bytes;
  }
  assert(left == 0 && segments_.size() <= segments_max_);
}

void DataMover::run(DomainId peer, SlotList::iterator first, SlotList::iterator end,
                    Movement what) noexcept {
  if (segments_.empty()) return;
  table_.copy(peer, segments_,
              what == Movement::data_out ? CopyDirection::to_guest : CopyDirection::from_guest);
  auto copied = segments_.cbegin();
  for (auto slot = first; slot != end; ++slot) {
    const auto after = copied + slot->copies;
    for (; copied != after; ++copied) {
      if (copied->status == CopyStatus::okay || slot->answer != blkif::Status::okay) continue;
      slot->answer = blkif::Status::error;
      slot->queue->report(Trouble::grant_copy_failed, copied->ref.n);
    }
  }
  assert(copied == segments_.cend());
  segments_.clear();
}

}  // namespace xenblk::ringio
