#include "ringio/slot_pool.h"

#include <cassert>

namespace xenblk::ringio {

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
  assert(slot.data == nullptr);
  slot.go(Step::free);
  slot.queue = nullptr;
  slot.answer = blkif::Status::okay;
  --in_use_;
  // At the front: its memory is the warmest.
  free_.push_front(slot);
}

}  // namespace xenblk::ringio
