#include "ringio/data_mover.h"

#include <algorithm>
#include <cassert>

#include "ringio/queue.h"

namespace xenblk::ringio {
namespace {

std::size_t table_pages(const Request& request) {
  return (request.table_bytes() + kPageBytes - 1) / kPageBytes;
}

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
  for (auto slot = slots.begin(); slot != slots.end(); ++slot) {
    assert(slot->request.carries_data());
    if (segments_.size() + copies_of(*slot, what) > segments_max_) {
      run(peer, first, slot, what);
      first = slot;
    }
    what == Movement::table_in ? add_table(*slot) : add_piece(*slot);
  }
  if (!segments_.empty()) run(peer, first, slots.end(), what);
}

void DataMover::add_piece(const RequestSlot& slot) noexcept {
  std::byte* local = slot.data;
  for (const Segment& segment : slot.piece()) {
    const auto bytes = static_cast<std::uint16_t>(segment.sectors() * kSectorBytes);
    const auto offset = static_cast<std::uint16_t>(segment.first_sect * kSectorBytes);
    assert(offset + bytes <= static_cast<int>(kPageBytes));
    segments_.push_back({segment.ref, offset, bytes, local, CopyStatus::failed});
    local += bytes;
  }
  assert(local == slot.data + slot.count.n * kSectorBytes);
  assert(segments_.size() <= segments_max_);
}

void DataMover::add_table(const RequestSlot& slot) noexcept {
  std::uint32_t left = slot.request.table_bytes();
  std::byte* local = slot.table;
  for (std::size_t page = 0; page < table_pages(slot.request); ++page) {
    const auto bytes = static_cast<std::uint16_t>(std::min(left, kPageBytes));
    segments_.push_back({slot.request.table_refs[page], 0, bytes, local, CopyStatus::failed});
    local += bytes;
    left -= bytes;
  }
  assert(left == 0 && segments_.size() <= segments_max_);
}

void DataMover::run(DomainId peer, SlotList::iterator first, SlotList::iterator end,
                    Movement what) noexcept {
  table_.copy(peer, segments_,
              what == Movement::data_out ? CopyDirection::to_guest : CopyDirection::from_guest);
  auto copied = segments_.cbegin();
  for (auto slot = first; slot != end; ++slot) {
    const auto after = copied + static_cast<std::ptrdiff_t>(copies_of(*slot, what));
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
