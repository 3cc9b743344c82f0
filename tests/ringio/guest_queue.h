// A simulated guest with one queue: the guest's end of the ring, its port, and pages to read into
// and write from. Its verbs are those of a frontend driver.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "backend/platform/loopback/frontend_ring.h"
#include "backend/platform/loopback/loopback_xen.h"
#include "ringio/queue_setup.h"

namespace xenblk::ringio::test {

using loopback::FrontendRequest;
using loopback::FrontendRing;
using loopback::FrontendSegment;
using loopback::RingResponse;
using loopback::wire;

constexpr DomainId kBackend{0};

struct GuestPage {
  std::span<std::byte> memory;
  GrantRef ref;
};

class GuestQueue {
 public:
  GuestQueue(std::shared_ptr<loopback::GuestDomain> domain, blkif::Layout layout,
             std::uint32_t ring_pages = 1)
      : guest(std::move(domain)),
        ring(guest, kBackend, layout, ring_pages),
        port(guest->allocate_port(kBackend)) {}

  QueueSetup setup(std::shared_ptr<Image> image) const {
    return {.peer = guest->id(),
            .layout = ring.layout(),
            .ring_refs = ring.refs(),
            .remote_port = port->port(),
            .image = std::move(image),
            .access = Access::read_write,
            .offer_discard = true,
            .counters = counters};
  }

  GuestPage page(Access access = Access::read_write, std::byte fill = std::byte{0}) {
    const auto memory = guest->allocate_pages(1);
    std::ranges::fill(memory, fill);
    return {memory, guest->grant(memory.data(), kBackend, access)};
  }

  // A transfer of these segments; its id is new.
  FrontendRequest transfer(blkif::Op op, std::uint64_t sector, std::vector<FrontendSegment> data) {
    return {.op = wire(op), .id = next_id++, .sector = {sector}, .segments = std::move(data)};
  }
  FrontendRequest read(std::uint64_t sector, GrantRef ref) {
    return transfer(blkif::Op::read, sector, {{ref}});
  }
  FrontendRequest write(std::uint64_t sector, GrantRef ref) {
    return transfer(blkif::Op::write, sector, {{ref}});
  }

  // The same as an indirect request, with its segments in pages of the guest's that nobody else
  // uses.
  FrontendRequest indirect(blkif::Op op, std::uint64_t sector,
                           const std::vector<FrontendSegment>& data) {
    FrontendRequest request{.op = wire(blkif::Op::indirect),
                            .id = next_id++,
                            .sector = {sector},
                            .indirect_op = wire(op),
                            .indirect_segment_count = static_cast<std::uint16_t>(data.size())};
    const std::size_t pages = std::max<std::size_t>((data.size() + 511) / 512, 1);
    const auto memory = guest->allocate_pages(static_cast<std::uint32_t>(pages));
    for (std::size_t i = 0; i < data.size(); ++i) {
      std::ranges::copy(loopback::encode(data[i]), memory.begin() + static_cast<long>(i * 8));
    }
    for (std::size_t page = 0; page < pages && page < request.indirect_refs.size(); ++page) {
      request.indirect_refs[page] =
          guest->grant(memory.data() + page * kPageBytes, kBackend, Access::read_only);
    }
    table = memory;
    return request;
  }

  std::uint64_t put(const FrontendRequest& request) {
    ring.put(request);
    return request.id;
  }
  void push() {
    if (ring.publish()) port->notify();
  }
  // Puts and pushes.
  std::uint64_t send(const FrontendRequest& request) {
    const auto id = put(request);
    push();
    return id;
  }
  // Takes all responses that are there, and asks for an event with the next.
  std::vector<RingResponse> take() {
    std::vector<RingResponse> responses;
    do {
      while (auto response = ring.take_response()) responses.push_back(*response);
    } while (!ring.violation() && ring.arm());
    EXPECT_EQ(ring.violation().value_or("none"), "none");
    return responses;
  }

  std::shared_ptr<loopback::GuestDomain> guest;
  FrontendRing ring;
  std::unique_ptr<loopback::GuestPort> port;
  std::shared_ptr<QueueCounters> counters = std::make_shared<QueueCounters>();
  std::uint64_t next_id = 1000;
  std::span<std::byte> table;  // of the last indirect request
};

}  // namespace xenblk::ringio::test
