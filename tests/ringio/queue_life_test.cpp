// Connecting and closing queues: everything that was taken is given back, whatever went wrong and
// whatever was in flight; and the sharing of slots and buffers between queues.
#include <gtest/gtest.h>

#include <list>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Layout;
using blkif::RingOffsets;
using blkif::Status;

class QueueLife : public OneQueue {
 protected:
  Errc connect_error(QueueSetup setup) {
    const auto id = world.core->connect(std::move(setup));
    EXPECT_FALSE(id.has_value());
    EXPECT_TRUE(world.xen.usage().nothing_held()) << "undone completely";
    return id.error().code;
  }
};
XENBLK_FOR_ALL_LAYOUTS(QueueLife);

// --- what cannot be connected ---
TEST_P(QueueLife, RefusesAWrongRingReference) {
  auto setup = queue.setup(world.image);
  setup.ring_refs = {{31000}};
  EXPECT_EQ(connect_error(setup), Errc::bad_grant);
}
TEST_P(QueueLife, RefusesTheSameReferenceTwice) {
  auto setup = queue.setup(world.image);
  setup.ring_refs.push_back(setup.ring_refs[0]);
  EXPECT_EQ(connect_error(setup), Errc::refused);
}
TEST_P(QueueLife, RefusesImpossibleNumbersOfPages) {
  for (const std::size_t pages : {0U, 3U, 17U, 32U}) {
    auto setup = queue.setup(world.image);
    setup.ring_refs.clear();
    for (std::uint32_t i = 0; i < pages; ++i) setup.ring_refs.push_back({100 + i});
    EXPECT_EQ(connect_error(setup), Errc::refused);
  }
}
TEST_P(QueueLife, RefusesARingOneOfWhosePagesIsMissing) {
  auto setup = queue.setup(world.image);
  setup.ring_refs.push_back({31000});
  EXPECT_EQ(connect_error(setup), Errc::bad_grant);
}
TEST_P(QueueLife, RefusesAReadOnlyRing) {
  const auto read_only = queue.page(Access::read_only);
  auto setup = queue.setup(world.image);
  setup.ring_refs = {read_only.ref};
  EXPECT_EQ(connect_error(setup), Errc::bad_grant);
}
TEST_P(QueueLife, RefusesWrongPorts) {
  for (const std::uint32_t port : {0U, 4000U, 0xffff'ffffU}) {
    auto setup = queue.setup(world.image);
    setup.remote_port = {port};
    EXPECT_EQ(connect_error(setup), Errc::bad_port);
  }
}
TEST_P(QueueLife, RefusesThePortOfAnotherDomain) {
  const auto other = world.xen.create_domain({9});
  // Several, so that the number cannot be one of our guest's by chance.
  std::list<std::unique_ptr<loopback::GuestPort>> ports;
  for (int i = 0; i < 8; ++i) ports.push_back(other->allocate_port(kBackend));
  auto setup = queue.setup(world.image);
  setup.remote_port = ports.back()->port();
  EXPECT_EQ(connect_error(setup), Errc::bad_port);
}
TEST_P(QueueLife, RefusesIndicesThatMakeNoSense) {
  queue.ring.store_index(RingOffsets::req_prod, 33);
  EXPECT_EQ(connect_error(queue.setup(world.image)), Errc::refused);
}
TEST_P(QueueLife, RefusesImpossibleSectorSizes) {
  for (const std::uint32_t bytes : {0U, 256U, 520U, 8192U}) {
    auto setup = queue.setup(world.image);
    setup.logical_sector_bytes = bytes;
    EXPECT_EQ(connect_error(setup), Errc::refused);
  }
}
TEST_P(QueueLife, SaysWhenMemoryForTheMappingIsMissing) {
  world.xen.faults().map_without_memory.set(1);
  EXPECT_EQ(connect_error(queue.setup(world.image)), Errc::no_memory);
}

// --- connecting ---
TEST_P(QueueLife, ServesWhatWasAskedForBeforeItWasConnected) {
  queue.send(queue.read(0, page.ref));
  connect();
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
}
TEST_P(QueueLife, ServesEverySizeOfRing) {
  for (const std::uint32_t pages : {1U, 2U, 4U, 8U, 16U}) {
    GuestQueue large(domain, GetParam(), pages);
    const QueueId id = world.connect(large);
    for (std::uint32_t round = 0; round < 3; ++round) {
      for (std::uint32_t i = 0; i < 32 * pages; ++i) large.put(large.read(i, page.ref));
      large.push();
      world.settle();
      EXPECT_EQ(large.take().size(), 32 * pages);
    }
    world.core->disconnect(id, [] {});
    world.settle();
  }
}

// --- closing ---
TEST_P(QueueLife, ClosingWaitsForWhatIsInFlight) {
  const QueueId id = connect();
  world.image->hold();
  for (int i = 0; i < 5; ++i) queue.put(queue.write(0, page.ref));
  queue.push();
  world.settle();
  int closed = 0;
  world.core->disconnect(id, [&] { ++closed; });
  world.core->disconnect(id, [&] { ++closed; });
  world.settle();
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(world.xen.usage().mapped_pages, 1U) << "responses still have to be written";
  world.image->release_all();
  world.settle();
  EXPECT_EQ(closed, 2) << "both are told";
  EXPECT_EQ(queue.take().size(), 5U);
  EXPECT_TRUE(world.xen.usage().nothing_held());
  world.core->disconnect(id, [&] { ++closed; });
  EXPECT_EQ(closed, 3) << "a queue that is gone is closed";
}
TEST_P(QueueLife, AClosingQueueTakesNothingMore) {
  const QueueId id = connect();
  world.image->hold();
  queue.send(queue.write(0, page.ref));
  world.settle();
  world.core->disconnect(id, [] {});
  queue.send(queue.write(8, page.ref));
  queue.port->notify();
  world.settle();
  EXPECT_EQ(world.image->held(), 1U);
}
TEST_P(QueueLife, ABarrierThatWaitsIsFinishedBeforeTheEnd) {
  const QueueId id = connect();
  world.image->hold();
  queue.put(queue.write(0, page.ref));
  queue.put(queue.transfer(blkif::Op::write_barrier, 8, {{page.ref}}));
  queue.push();
  world.settle();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  world.image->release_all();
  world.settle();
  EXPECT_TRUE(closed);
  EXPECT_EQ(queue.take().size(), 2U);
}
TEST_P(QueueLife, AnImageThatHangsHoldsUpOnlyItsOwnQueue) {
  connect();
  auto hanging = std::make_shared<MemoryImage>(SectorCount{64});
  hanging->hold();
  GuestQueue stuck(domain, GetParam());
  const QueueId id = world.connect(stuck.setup(hanging));
  stuck.send(stuck.read(0, page.ref));
  world.settle();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  expect_alive();
  EXPECT_FALSE(closed);
  hanging->release_all();
  world.settle();
  EXPECT_TRUE(closed);
}
TEST_P(QueueLife, ADomainThatDiesWithWorkInFlightIsCleanedUp) {
  const QueueId id = connect();
  world.image->hold();
  for (int i = 0; i < 8; ++i) queue.put(queue.read(0, page.ref));
  queue.push();
  world.settle();
  world.xen.destroy_domain(domain->id());
  world.image->release_all();
  world.settle();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  world.settle();
  EXPECT_TRUE(closed);
  EXPECT_EQ(world.core->counters().slots_in_use.get(), 0U);
}
TEST_P(QueueLife, ADetachedRingIsTakenOverWhereItStands) {
  const QueueId id = connect();
  for (int i = 0; i < 40; ++i) expect_alive();
  world.core->disconnect(id, [] {});
  world.settle();
  queue.send(queue.read(0, page.ref));
  connect();
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
  expect_alive();
}
TEST_P(QueueLife, ConnectingAndClosingAThousandTimesLeavesNothing) {
  for (int i = 0; i < 1000; ++i) {
    const QueueId id = connect();
    queue.send(queue.read(0, page.ref));
    if (i % 2 == 0) world.pass();
    world.core->disconnect(id, [] {});
    world.settle();
    queue.take();
    ASSERT_TRUE(world.xen.usage().nothing_held());
  }
}

// --- sharing what is scarce ---
class Scarce : public testing::Test {
 protected:
  CoreWorld world{{.request_slots = 4, .arena_bytes = std::size_t{1} << 20}};
  std::shared_ptr<loopback::GuestDomain> domain = world.xen.create_domain({7});
  GuestQueue first{domain, Layout::x86_64};
  GuestQueue second{domain, Layout::x86_32};
  GuestPage page = first.page();

  void SetUp() override {
    world.connect(first);
    world.connect(second);
  }
  static void fill(GuestQueue& queue, GrantRef ref, int requests) {
    for (int i = 0; i < requests; ++i) queue.put(queue.read(0, ref));
    queue.push();
  }
};

TEST_F(Scarce, RequestsWithoutASlotStayInTheRing) {
  world.image->hold();
  fill(first, page.ref, 32);
  world.settle();
  EXPECT_EQ(world.image->held(), 4U);
  EXPECT_EQ(world.core->counters().slots_in_use.get(), 4U);
  EXPECT_GE(world.core->counters().starved.get(), 1U);
  world.image->release_all();
  world.settle();
  EXPECT_EQ(first.take().size(), 32U);
}

TEST_F(Scarce, AWorkerThatWaitsForASlotSleeps) {
  world.image->hold();
  fill(first, page.ref, 32);
  world.settle();
  world.pass();
  EXPECT_EQ(world.engine.last_patience, LoopEngine::kForever);
}

TEST_F(Scarce, NobodyStarvesBesideABusyRing) {
  world.image->hold();
  fill(first, page.ref, 32);
  world.settle();
  fill(second, page.ref, 8);
  world.settle();
  // While the first is never empty the second gets its turns.
  for (int i = 0; i < 40 && second.counters->reads.get() < 4; ++i) {
    world.image->release();
    world.settle();
    for (auto n = first.take().size(); n != 0; --n) first.put(first.read(0, page.ref));
    first.push();
  }
  EXPECT_GE(second.counters->reads.get(), 4U);
}

TEST_F(Scarce, ALargeRequestIsNotStarvedBySmallOnes) {
  CoreWorld narrow({.request_slots = 1024, .arena_bytes = std::size_t{1} << 20});
  const auto guest = narrow.xen.create_domain({7});
  GuestQueue small(guest, Layout::x86_64, 16);
  GuestQueue large(guest, Layout::x86_64);
  narrow.connect(small);
  narrow.connect(large);
  const auto target = small.page();
  narrow.image->hold();
  fill(small, target.ref, 512);
  narrow.settle();
  EXPECT_EQ(narrow.image->held(), 193U) << "one page each: a disk's share";
  auto request = large.transfer(blkif::Op::read, 0, {});
  for (int i = 0; i < 11; ++i) request.segments.push_back({target.ref});
  large.send(request);
  for (int i = 0; i < 600 && large.counters->reads.get() == 0; ++i) {
    narrow.image->release();
    narrow.settle();
    for (auto n = small.take().size(); n != 0; --n) small.put(small.read(0, target.ref));
    small.push();
  }
  EXPECT_EQ(large.counters->reads.get(), 1U);
}

// --- a disk whose storage hangs ---
class Hanging : public testing::Test {
 protected:
  CoreWorld world;
  std::shared_ptr<loopback::GuestDomain> domain = world.xen.create_domain({7});
  std::shared_ptr<MemoryImage> hung = std::make_shared<MemoryImage>(SectorCount{4096});

  void SetUp() override { hung->hold(); }
  QueueId connect_hung(GuestQueue& queue, std::uint16_t device) {
    auto setup = queue.setup(hung);
    setup.device = {device};
    return world.connect(std::move(setup));
  }
  static FrontendRequest read_of(GuestQueue& queue, GrantRef page, int segments) {
    auto request = queue.transfer(blkif::Op::read, 0, {});
    for (int i = 0; i < segments; ++i) request.segments.push_back({page});
    return request;
  }
  void expect_others_are_served(const FrontendRequest& request, GuestQueue& other) {
    auto setup = other.setup(world.image);
    setup.device = {99};
    world.connect(std::move(setup));
    EXPECT_EQ(world.status(other, request), blkif::Status::okay);
    EXPECT_EQ(world.engine.last_patience, LoopEngine::kForever) << "the worker cannot sleep";
    hung->release_all();
    world.settle();
  }
};

TEST_F(Hanging, ADiskLeavesAQuarterOfTheSlotsToOthers) {
  GuestQueue queue(domain, Layout::x86_64, 16);
  GuestQueue other(domain, Layout::x86_64);
  const auto target = queue.page();
  connect_hung(queue, 1);
  for (int i = 0; i < 512; ++i) queue.put(queue.read(0, target.ref));
  queue.push();
  world.settle();
  EXPECT_EQ(hung->held(), 385U) << "of 512, and one more than three quarters";
  expect_others_are_served(other.read(0, target.ref), other);
  EXPECT_EQ(queue.take().size(), 512U);
}

TEST_F(Hanging, TheQueuesOfADiskHaveOneShare) {
  GuestQueue one(domain, Layout::x86_64, 16);
  GuestQueue two(domain, Layout::x86_64, 16);
  GuestQueue other(domain, Layout::x86_64);
  const auto target = one.page();
  for (auto* queue : {&one, &two}) {
    connect_hung(*queue, 1);
    for (int i = 0; i < 300; ++i) queue->put(queue->read(0, target.ref));
    queue->push();
  }
  world.settle();
  EXPECT_EQ(hung->held(), 385U);
  expect_others_are_served(other.read(0, target.ref), other);
  EXPECT_EQ(one.take().size() + two.take().size(), 600U);
}

TEST_F(Hanging, ADiskLeavesAQuarterOfTheMemoryToOthers) {
  GuestQueue queue(domain, Layout::x86_64, 16);
  GuestQueue other(domain, Layout::x86_64);
  const auto target = queue.page();
  connect_hung(queue, 1);
  const auto large = read_of(queue, target.ref, 11);
  for (int i = 0; i < 100; ++i) queue.put(large);
  queue.push();
  world.settle();
  EXPECT_EQ(hung->held(), 49U) << "64 KiB each, of 4 MiB";
  expect_others_are_served(large, other);
  EXPECT_EQ(queue.take().size(), 100U);
}

// A disk that holds 49 buffers of 64 KiB, so that 960 KiB of 4 MiB are left.
class HangingBesideALargeRequest : public Hanging {
 protected:
  void SetUp() override {
    Hanging::SetUp();
    connect_hung(queue, 1);
    const auto eleven = read_of(queue, target.ref, 11);
    for (int i = 0; i < 49; ++i) queue.put(eleven);
    queue.push();
    world.settle();
    EXPECT_EQ(world.core->counters().slots_in_use.get(), 49U);
  }
  void connect(GuestQueue& beside, std::uint16_t device, std::shared_ptr<Image> image) {
    auto setup = beside.setup(std::move(image));
    setup.device = {device};
    setup.indirect_segments_max = 256;
    world.connect(std::move(setup));
  }
  void send_large(std::size_t segments) {
    const std::vector<FrontendSegment> data(segments, {target.ref});
    large.send(large.indirect(blkif::Op::read, 0, data));
    world.settle();
    EXPECT_TRUE(large.take().empty());
  }

  GuestQueue queue{domain, Layout::x86_64, 16};
  GuestQueue small{domain, Layout::x86_64, 16};
  GuestQueue large{domain, Layout::x86_64};
  GuestQueue other{domain, Layout::x86_64};
  GuestPage target = queue.page();
};

TEST_F(HangingBesideALargeRequest, OthersMayPass) {
  connect(large, 2, world.image);
  send_large(256);
  expect_others_are_served(other.read(0, target.ref), other);
  EXPECT_EQ(large.take().size(), 1U);
}

// Otherwise small requests would take each page that comes back.
TEST_F(HangingBesideALargeRequest, OthersMayPassOnlyUntilSomethingComesBack) {
  const auto slow = std::make_shared<MemoryImage>(SectorCount{4096});
  slow->hold();
  connect(small, 2, slow);
  for (int i = 0; i < 500; ++i) small.put(small.read(0, target.ref));
  small.push();
  world.settle();
  EXPECT_EQ(slow->held(), 181U) << "so that 236 KiB are left";
  connect(large, 3, world.image);
  send_large(64);
  connect(other, 4, world.image);
  EXPECT_EQ(world.status(other, other.read(0, target.ref)), blkif::Status::okay);
  for (int i = 0; i < 300 && large.counters->reads.get() == 0; ++i) {
    slow->release();
    for (int pass = 0; pass < 4; ++pass) world.core->pass(LoopEngine::kNoWait);
    for (auto n = small.take().size(); n != 0; --n) small.put(small.read(0, target.ref));
    small.push();
    world.pass_events();
  }
  EXPECT_EQ(large.counters->reads.get(), 1U);
  slow->release_all();
  hung->release_all();
  world.settle();
}

TEST_F(Hanging, SeveralDisksLeaveSomethingToOthersToo) {
  std::vector<std::unique_ptr<GuestQueue>> queues;
  for (std::uint16_t device = 1; device <= 3; ++device) {
    queues.push_back(std::make_unique<GuestQueue>(domain, Layout::x86_64, 16));
    auto& queue = *queues.back();
    connect_hung(queue, device);
    const auto target = queue.page();
    for (int i = 0; i < 512; ++i) queue.put(queue.read(0, target.ref));
    queue.push();
    world.settle();
  }
  EXPECT_EQ(hung->held(), 385U + 96U + 24U);
  GuestQueue other(domain, Layout::x86_64);
  const auto target = other.page();
  expect_others_are_served(other.read(0, target.ref), other);
}

}  // namespace
}  // namespace xenblk::ringio::test
