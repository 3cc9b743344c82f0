// One queue of a simulated blkfront: a ring, its event channel and buffers in the guest's memory.
// Grants are made for each request in the direction it needs and ended when it is answered, as
// Linux's blkfront does; with persistent grants they stay.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/platform/loopback/frontend_ring.h"
#include "backend/platform/loopback/guest_domain.h"
#include "backend/platform/loopback/store_wait.h"

namespace xenblk::loopback {

enum class Grants : std::uint8_t { per_request, persistent };

struct QueueOptions {
  DomainId backend = {0};
  blkif::Layout layout = blkif::Layout::native;
  std::uint32_t ring_pages = 1;
  // Requests in flight at most; also what memory is set aside for.
  std::uint32_t depth = 32;
  // More than blkif::kMaxSegments makes requests above that indirect.
  std::uint32_t segments_max = blkif::kMaxSegments;
};

// A request of the frontend with its buffer; owned by the queue. Between acquire() and start() and
// between reap() and release() it belongs to the caller.
struct FrontendIo {
  std::span<std::byte> data;  // in the guest's memory, segments_max pages
  blkif::Op op = blkif::Op::read;
  SectorIndex first;
  SectorCount count;
  blkif::Status status = blkif::Status::okay;
  std::uint64_t tag = 0;  // the caller's

  // --- the queue's own ---
  std::uint64_t id = 0;
  std::span<std::byte> indirect_pages;
  std::vector<GrantRef> refs;           // one a page of `data` while granted
  std::vector<GrantRef> indirect_refs;  // the same of `indirect_pages`
};

// Pinned; one thread.
class FrontendQueue {
 public:
  FrontendQueue(std::shared_ptr<GuestDomain> guest, const QueueOptions& options);
  ~FrontendQueue();
  FrontendQueue(const FrontendQueue&) = delete;
  FrontendQueue& operator=(const FrontendQueue&) = delete;

  FrontendRing& ring() { return ring_; }
  GuestPort& port() { return *port_; }
  // What was negotiated; before the first request.
  void use(Grants grants, std::uint32_t segments_max);
  SectorCount transfer_max() const { return {std::uint64_t{segments_max_} * kSectorsPerPage}; }

  // A request to fill in; nothing when `depth` requests are out.
  FrontendIo* acquire();
  // Puts it into the ring. Its op, first and count say what; visible to the backend after kick().
  void start(FrontendIo& io);
  void kick();
  // An answered request; nothing when there is none now, or violation().
  FrontendIo* reap();
  void release(FrontendIo& io) { free_.push_back(&io); }
  // Waits until reap() may have something.
  bool wait_for_answers(const Patience& patience);

  std::uint32_t in_flight() const { return ring_.outstanding(); }
  // The first rule that the backend broke; the queue is dead then.
  std::optional<std::string> violation() const;

 private:
  void grant(FrontendIo& io);
  void end_grants(FrontendIo& io);
  void end_grant(GrantRef ref);
  FrontendRequest describe(FrontendIo& io);
  std::vector<FrontendSegment> segments_of(const FrontendIo& io) const;
  void fill_indirect(FrontendRequest& request, FrontendIo& io);

  std::shared_ptr<GuestDomain> guest_;
  QueueOptions options_;
  FrontendRing ring_;
  std::unique_ptr<GuestPort> port_;
  Grants grants_ = Grants::per_request;
  std::uint32_t segments_max_ = blkif::kMaxSegments;
  std::span<std::byte> memory_;
  std::vector<FrontendIo> ios_;
  std::vector<FrontendIo*> free_;
  std::optional<std::string> violation_;
};

}  // namespace xenblk::loopback
