// The back end of one shared ring: takes requests, puts responses. Borrows the mapped memory, which
// must outlive it. One thread. The guest can write anything into that memory at any time: indices
// that are ours are kept privately and never read back, and what the guest's indices can do at
// worst is to stop the ring.
//
// Barriers and the rules for events are those of xen/include/public/io/ring.h,
// RING_PUSH_RESPONSES_* and RING_FINAL_CHECK_FOR_REQUESTS.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ringio/raw_slot.h"
#include "xenblk/blkif.h"
#include "xenblk/error.h"

namespace xenblk::ringio {

struct Response {
  std::uint64_t id = 0;
  std::uint8_t operation = 0;
  blkif::Status status = blkif::Status::okay;
};

enum class RingState : std::uint8_t {
  empty,    // nothing to take
  waiting,  // at least one request to take
  overrun,  // the producer index makes no sense; for ever
};

// Where a backend stands in a ring.
struct RingPosition {
  std::uint32_t request_consumer = 0;
  std::uint32_t response_producer = 0;  // as the guest sees it
};

class BackRing {
 public:
  // Goes on from there. Error refused: more requests than slots lie between that place and the
  // producer index, or fewer than were consumed.
  static Expected<BackRing> attach(std::byte* memory, std::uint32_t pages, blkif::Layout layout,
                                   RingPosition position);
  // Begins where the responses in shared memory end.
  static Expected<BackRing> attach(std::byte* memory, std::uint32_t pages, blkif::Layout layout);

  // Looks at the guest's producer index.
  RingState look() noexcept;
  // Requests known since the last look(); take() only when not 0.
  std::uint32_t available() const noexcept { return request_producer_seen_ - request_consumer_; }
  // Copies the next request's slot, once, without consuming it.
  RawSlot copy_next() const noexcept;
  void consume() noexcept;

  // Asks for an event at the next request and looks again, in this order: when it says `empty`, no
  // request can come without an event.
  RingState arm() noexcept;

  // Asks for no events for now: whoever says this looks by itself, and arms the ring before it
  // stops. The guest may send one all the same.
  void disarm() noexcept;

  // Writes the next response in place, field by field. Not visible to the guest until publish().
  // At most one response for each consumed request.
  void put(const Response& response) noexcept;
  // Makes all put responses visible. True: the guest asked for an event.
  [[nodiscard]] bool publish() noexcept;
  bool has_unpublished() const noexcept {
    return response_producer_ != response_producer_published_;
  }

  // Consumed requests without a response.
  std::uint32_t owed() const noexcept { return request_consumer_ - response_producer_; }
  std::uint32_t entries() const noexcept { return entries_; }
  std::uint32_t distance() const noexcept { return request_producer_seen_ - response_producer_; }

 private:
  BackRing(std::byte* memory, std::uint32_t entries, blkif::Layout layout)
      : memory_(memory), layout_(layout), entries_(entries) {}
  std::size_t slot_offset(std::uint32_t index) const noexcept;

  std::byte* memory_;
  blkif::Layout layout_;
  std::uint32_t entries_;
  bool overrun_ = false;
  std::uint32_t request_producer_seen_ = 0;
  std::uint32_t request_consumer_ = 0;
  std::uint32_t response_producer_ = 0;
  std::uint32_t response_producer_published_ = 0;
};

}  // namespace xenblk::ringio
