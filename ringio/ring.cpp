#include "ringio/ring.h"

#include <bit>
#include <cassert>

#include "ringio/shared_memory.h"

namespace xenblk::ringio {

using blkif::RingOffsets;

Expected<BackRing> BackRing::attach(std::byte* memory, std::uint32_t pages, blkif::Layout layout) {
  const auto answered = load_shared<std::uint32_t>(memory, RingOffsets::rsp_prod);
  return attach(memory, pages, layout, {answered, answered});
}

Expected<BackRing> BackRing::attach(std::byte* memory, std::uint32_t pages, blkif::Layout layout,
                                    RingPosition position) {
  assert(memory != nullptr);
  assert(pages >= 1 && pages <= blkif::kMaxRingPages);
  BackRing ring(memory, blkif::ring_entries(layout, pages), layout);
  assert(position.request_consumer - position.response_producer <= ring.entries_);
  ring.request_producer_seen_ = position.request_consumer;
  ring.request_consumer_ = position.request_consumer;
  ring.response_producer_ = position.response_producer;
  ring.response_producer_published_ = position.response_producer;
  if (ring.look() == RingState::overrun) {
    return fail(Errc::refused, "the ring's indices are further apart than the ring is long");
  }
  return ring;
}

RingState BackRing::look() noexcept {
  if (overrun_) return RingState::overrun;
  // Acquire: what the guest wrote into the slots before it moved the index is seen after it.
  const auto producer =
      shared<std::uint32_t>(memory_, RingOffsets::req_prod).load(std::memory_order_acquire);
  // Unsigned distances survive the wrap of the indices at 2^32. An index that went backwards shows
  // as a distance of nearly 2^32, or as fewer requests than were consumed.
  request_producer_seen_ = producer;
  if (producer - response_producer_ > entries_ || producer - response_producer_ < owed()) {
    overrun_ = true;
    return RingState::overrun;
  }
  return available() == 0 ? RingState::empty : RingState::waiting;
}

std::size_t BackRing::slot_offset(std::uint32_t index) const noexcept {
  assert(std::has_single_bit(entries_));
  return RingOffsets::slots + (index & (entries_ - 1)) * blkif::offsets(layout_).slot;
}

RawSlot BackRing::copy_next() const noexcept {
  assert(!overrun_);
  assert(available() != 0 && available() <= entries_);
  const std::size_t offset = slot_offset(request_consumer_);
  const std::size_t words = blkif::offsets(layout_).slot / sizeof(std::uint32_t);
  RawSlot raw;
  for (std::size_t i = 0; i < words; ++i) {
    raw.words[i] = load_shared<std::uint32_t>(memory_, offset + i * sizeof(std::uint32_t));
  }
  return raw;
}

void BackRing::consume() noexcept {
  assert(available() != 0);
  ++request_consumer_;
  assert(owed() <= entries_);
}

RingState BackRing::arm() noexcept {
  if (overrun_) return RingState::overrun;
  assert(available() == 0);
  store_shared<std::uint32_t>(memory_, RingOffsets::req_event, request_consumer_ + 1);
  // The store must be visible before the index is read again: either we see the guest's new request
  // or the guest sees that we want an event.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return look();
}

// The request that is asked about has been consumed, so no later one reaches it (for as long as the
// index does not wrap around, and then it costs one event).
void BackRing::disarm() noexcept {
  store_shared<std::uint32_t>(memory_, RingOffsets::req_event, request_consumer_);
}

void BackRing::put(const Response& response) noexcept {
  assert(owed() != 0);
  const auto& at = blkif::offsets(layout_);
  const std::size_t offset = slot_offset(response_producer_);
  // Only the three fields are written: padding bytes would carry our memory to the guest (XSA-216).
  store_shared<std::uint32_t>(memory_, offset + at.rsp_id, static_cast<std::uint32_t>(response.id));
  store_shared<std::uint32_t>(memory_, offset + at.rsp_id + 4,
                              static_cast<std::uint32_t>(response.id >> 32));
  store_shared<std::uint8_t>(memory_, offset + at.rsp_operation, response.operation);
  store_shared<std::uint16_t>(memory_, offset + at.rsp_status,
                              static_cast<std::uint16_t>(response.status));
  ++response_producer_;
}

bool BackRing::publish() noexcept {
  assert(has_unpublished());
  // Old index from our own variable: the one in shared memory is the guest's to change.
  const std::uint32_t old_producer = response_producer_published_;
  shared<std::uint32_t>(memory_, RingOffsets::rsp_prod)
      .store(response_producer_, std::memory_order_release);
  response_producer_published_ = response_producer_;
  // The responses must be visible before the guest's wish is read: see ring.h.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const auto event = load_shared<std::uint32_t>(memory_, RingOffsets::rsp_event);
  return response_producer_ - event < response_producer_ - old_producer;
}

}  // namespace xenblk::ringio
