#include "ringio/data_mover.h"

#include <cassert>

#include "ringio/queue.h"

namespace xenblk::ringio {

DataMover::DataMover(GrantTable& table, std::size_t segments_max)
    : table_(table), segments_max_(segments_max) {
  assert(segments_max >= blkif::kMaxSegments);
  segments_.reserve(segments_max);
}

void DataMover::move(DomainId peer, SlotList& slots, CopyDirection direction) noexcept {
  auto first = slots.begin();
  for (auto slot = slots.begin(); slot != slots.end(); ++slot) {
    assert(slot->request.carries_data());
    if (segments_.size() + slot->request.segment_count > segments_max_) {
      run(peer, first, slot, direction);
      first = slot;
    }
    add(*slot);
  }
  if (!segments_.empty()) run(peer, first, slots.end(), direction);
}

void DataMover::add(const RequestSlot& slot) noexcept {
  std::byte* local = slot.data;
  for (const Segment& segment : slot.request.data()) {
    const auto bytes = static_cast<std::uint16_t>(segment.sectors() * kSectorBytes);
    const auto offset = static_cast<std::uint16_t>(segment.first_sect * kSectorBytes);
    assert(offset + bytes <= static_cast<int>(kPageBytes));
    segments_.push_back({segment.ref, offset, bytes, local, CopyStatus::failed});
    local += bytes;
  }
  assert(local == slot.data + slot.request.data_bytes());
  assert(segments_.size() <= segments_max_);
}

void DataMover::run(DomainId peer, SlotList::iterator first, SlotList::iterator end,
                    CopyDirection direction) noexcept {
  table_.copy(peer, segments_, direction);
  auto copied = segments_.cbegin();
  for (auto slot = first; slot != end; ++slot) {
    const auto after = copied + slot->request.segment_count;
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
