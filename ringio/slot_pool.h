// A fixed number of request slots, shared by all queues of a worker. One thread. take() fails when
// all are in use: the request then stays in its ring.
#pragma once

#include <cstdint>
#include <memory>

#include "ringio/request_slot.h"

namespace xenblk::ringio {

class SlotPool {
 public:
  explicit SlotPool(std::uint32_t slots);
  ~SlotPool();
  SlotPool(const SlotPool&) = delete;
  SlotPool& operator=(const SlotPool&) = delete;

  // Null when there is none. The slot comes back with step `taken` and is otherwise as new.
  RequestSlot* take() noexcept;
  // The slot's step must be `answered` or `put_off`.
  void give_back(RequestSlot& slot) noexcept;

  std::uint32_t in_use() const { return in_use_; }
  std::uint32_t size() const { return size_; }

 private:
  std::uint32_t size_;
  std::uint32_t in_use_ = 0;
  std::unique_ptr<RequestSlot[]> slots_;
  SlotList free_;
};

}  // namespace xenblk::ringio
