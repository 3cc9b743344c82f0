// One disk as a guest's kernel drives it: so many operations in flight over its queues, each split
// into requests of so many pages as the load says, new ones as soon as old ones are answered. It
// speaks to the rings directly, without XenStore. Pinned; used by the thread that drives it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/platform/loopback/frontend_ring.h"
#include "backend/platform/loopback/guest_domain.h"
#include "bench/load/load.h"
#include "bench/load/measurement.h"

namespace xenblk::bench {

class GuestDisk {
 public:
  // What the backend needs to connect one queue.
  struct QueueOffer {
    std::vector<GrantRef> ring_refs;
    EventPort port;
  };

  GuestDisk(std::shared_ptr<loopback::GuestDomain> guest, const Load& load, SectorCount capacity,
            std::uint64_t seed);
  ~GuestDisk();
  GuestDisk(const GuestDisk&) = delete;
  GuestDisk& operator=(const GuestDisk&) = delete;

  std::vector<QueueOffer> offers() const;

  // What drive() has seen of this disk: all operations; elapsed and backend_cpu are not set.
  const Measurement& seen() const { return seen_; }

  static std::uint32_t memory_pages(const Load& load);
  // One page of them, so that a request has one indirect page.
  static constexpr std::uint32_t kMostSegments = blkif::kSegmentsPerIndirectPage;
  // All requests of a queue find room in its ring at once.
  static bool fits_rings(const Load& load);

 private:
  friend class Driver;
  using Time = std::chrono::steady_clock::time_point;

  // An operation's place: its pages are granted once, as a frontend with persistent grants does.
  struct Place {
    std::span<std::byte> pages;
    std::vector<GrantRef> refs;
    std::span<std::byte> tables;  // a page for each indirect request
    std::vector<GrantRef> table_refs;
    Time started;
    std::uint32_t requests_left = 0;
    bool failed = false;
    bool write = false;
  };
  struct Queue {
    std::unique_ptr<loopback::FrontendRing> ring;
    std::unique_ptr<loopback::GuestPort> port;
    std::vector<std::uint32_t> places;  // indices of those that use this queue
  };

  void add_place(Queue& queue);
  void start(Queue& queue, std::uint32_t place_index, Time now);
  void put_request(Queue& queue, std::uint32_t place_index, std::uint32_t page, SectorIndex first);
  void make_indirect(loopback::FrontendRequest& request, const Place& place, std::uint32_t page);
  void kick(Queue& queue);
  void begin(Time now);
  bool reap(Time end);
  bool reap(Queue& queue, Time end);
  void finish(Place& place, Time now);
  bool arm();
  std::string breach() const;

  std::shared_ptr<loopback::GuestDomain> guest_;
  Load load_;
  Sequence sequence_;
  std::vector<Place> places_;
  std::vector<Queue> queues_;
  std::uint32_t in_flight_ = 0;
  Measurement seen_;
};

// What one thread did that drove disks.
struct Driven {
  std::string breach;  // of the ring's rules, or a lost operation; empty when all was well
  std::chrono::nanoseconds own_cpu{};  // the processor time of the thread, the guests'
};

// Makes load on all these disks from the calling thread until `end`, then waits for what is in
// flight. The ring's rules and an answer to every operation are checked. Not empty.
Driven drive(std::span<const std::unique_ptr<GuestDisk>> disks,
             std::chrono::steady_clock::time_point end);

}  // namespace xenblk::bench
