// The guest's end of one shared ring, without XenStore and without an event channel: raw enough for
// a hostile guest, and with the checks of Linux's hardened blkfront on everything the backend
// writes. The rules that kill a disk there (BF = drivers/block/xen-blkfront.c, blkif_interrupt) are
// kept here: rsp_prod within what was asked, each id pending exactly once, op echoed, and more
// strictly than Linux that the bytes of a slot which are not part of a response stay as they were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/platform/loopback/frontend_request.h"
#include "backend/platform/loopback/guest_domain.h"
#include "xenblk/blkif.h"

namespace xenblk::loopback {

struct RingResponse {
  std::uint64_t id = 0;
  std::uint8_t op = 0;
  blkif::Status status = blkif::Status::okay;
  bool operator==(const RingResponse&) const = default;
};

// Pinned; one thread. Ends its grants when destroyed; pages that are still mapped then are not
// reused.
class FrontendRing {
 public:
  FrontendRing(std::shared_ptr<GuestDomain> guest, DomainId backend, blkif::Layout layout,
               std::uint32_t pages);
  ~FrontendRing();
  FrontendRing(const FrontendRing&) = delete;
  FrontendRing& operator=(const FrontendRing&) = delete;

  const std::vector<GrantRef>& refs() const { return refs_; }
  blkif::Layout layout() const { return layout_; }
  std::uint32_t entries() const { return entries_; }
  // Requests that still fit.
  std::uint32_t room() const { return entries_ - (request_producer_ - response_consumer_); }
  std::uint32_t outstanding() const { return static_cast<std::uint32_t>(outstanding_.size()); }

  // Puts a request into the next slot; the backend does not see it before publish().
  void put(const FrontendRequest& request);
  void put_bytes(std::span<const std::byte> slot);
  // Makes what was put visible. True when the backend asked for an event.
  bool publish();

  // The next response; nothing when there is none, or the backend has broken a rule (see
  // violation()).
  std::optional<RingResponse> take_response();
  // Asks for an event with the next response. True when responses are there already: take them
  // first.
  bool arm();

  // The first rule that the backend broke. From then on the ring is dead, as Linux's is.
  const std::optional<std::string>& violation() const { return violation_; }

  // --- for hostile guests ---
  // One of blkif::RingOffsets::{req_prod, req_event, rsp_prod, rsp_event}.
  std::uint32_t load_index(std::size_t offset) const;
  void store_index(std::size_t offset, std::uint32_t value);
  // Changes a slot that was published already; `index` counts requests from 0.
  void overwrite(std::uint32_t index, std::span<const std::byte> slot);
  std::span<std::byte> memory() { return memory_; }

 private:
  struct Outstanding {
    std::uint64_t id = 0;
    std::uint8_t op = 0;
  };

  std::byte* slot_at(std::uint32_t index) const;
  void note_outstanding(std::span<const std::byte> slot);
  bool within_bounds(std::uint32_t producer);
  SlotBytes load_slot(std::uint32_t index) const;
  void check_padding(std::uint32_t index, const SlotBytes& seen);
  void check_pending(const RingResponse& response);
  void violate(std::string rule);

  std::shared_ptr<GuestDomain> guest_;
  blkif::Layout layout_;
  const blkif::SlotOffsets& at_;
  std::uint32_t entries_;
  std::span<std::byte> memory_;
  std::vector<GrantRef> refs_;
  std::vector<SlotBytes> written_;  // by slot: what the guest put there last
  std::vector<Outstanding> outstanding_;
  std::uint32_t request_producer_ = 0;
  std::uint32_t published_ = 0;
  std::uint32_t response_consumer_ = 0;
  std::optional<std::string> violation_;
};

}  // namespace xenblk::loopback
