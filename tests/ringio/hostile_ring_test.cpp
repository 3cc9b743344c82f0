// A guest that lies about its ring: indices that make no sense, a header that changes all the time,
// events without requests.
#include <gtest/gtest.h>

#include <random>

#include "tests/ringio/core_world.h"
#include "tests/rounds.h"

namespace xenblk::ringio::test {
namespace {

using blkif::RingOffsets;
using blkif::Status;

class HostileRing : public OneQueue {};
XENBLK_FOR_ALL_LAYOUTS(HostileRing);

// --- producer overrun ---
TEST_P(HostileRing, AnOverrunStopsTheRingAndIsReportedOnce) {
  connect();
  queue.ring.store_index(RingOffsets::req_prod, 33);
  queue.port->notify();
  world.settle();
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].trouble, Trouble::ring_overrun);
  EXPECT_EQ(notices[0].detail, 33U);
  EXPECT_EQ(queue.counters->ring_stopped.get(), 1U);
  EXPECT_TRUE(world.image->log().empty());
}

TEST_P(HostileRing, AStoppedRingCostsNothing) {
  connect();
  queue.ring.store_index(RingOffsets::req_prod, 1U << 31);
  queue.port->notify();
  world.settle();
  for (int i = 0; i < 1000; ++i) {
    queue.ring.store_index(RingOffsets::req_prod, static_cast<std::uint32_t>(i));
    queue.port->notify();
  }
  pollfd events = {world.channels->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&events, 1, 0), 0) << "its port stays masked";
  world.pass();
  EXPECT_EQ(world.engine.last_patience, LoopEngine::kForever);
  EXPECT_TRUE(queue.take().empty());
}

TEST_P(HostileRing, AStoppedRingCanBeClosedAndItsDiskConnectedAgain) {
  const QueueId id = connect();
  queue.ring.store_index(RingOffsets::req_prod, 99);
  queue.port->notify();
  world.settle();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  world.settle();
  EXPECT_TRUE(closed);
  EXPECT_TRUE(world.xen.usage().nothing_held());
  GuestQueue again(domain, GetParam());
  world.connect(again);
  EXPECT_EQ(world.status(again, again.read(0, page.ref)), Status::okay);
}

TEST_P(HostileRing, WhatWasInFlightAtAnOverrunIsStillAnswered) {
  connect();
  world.image->hold();
  queue.send(queue.read(0, page.ref));
  world.settle();
  queue.ring.store_index(RingOffsets::req_prod, 500);
  queue.port->notify();
  world.settle();
  world.image->release_all();
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(HostileRing, AnOverrunOfOneRingLeavesOthersAlone) {
  connect();
  GuestQueue other(domain, GetParam());
  world.connect(other);
  queue.ring.store_index(RingOffsets::req_prod, 12345);
  queue.port->notify();
  EXPECT_EQ(world.status(other, other.read(0, page.ref)), Status::okay);
}

// --- the rest of the header ---
TEST_P(HostileRing, AHeaderThatIsRewrittenAllTheTimeOnlyCostsEvents) {
  connect();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uint64_t answered = 0;
  for (int round = 0; round < xenblk::test::single_threaded_rounds(2000); ++round) {
    for (auto n = random() % 8; n != 0; --n) queue.put(queue.read(random() % 4088, page.ref));
    queue.push();
    queue.port->notify();  // what `push` says is based on a req_event that was overwritten
    world.pass();
    for (const auto offset : {RingOffsets::req_event, RingOffsets::rsp_event}) {
      queue.ring.store_index(offset, static_cast<std::uint32_t>(random()));
    }
    // The backend's own copy of this one is restored by its next publish.
    const auto producer = queue.ring.load_index(RingOffsets::rsp_prod);
    queue.ring.store_index(RingOffsets::rsp_prod, static_cast<std::uint32_t>(random()));
    world.pass();
    if (queue.ring.load_index(RingOffsets::rsp_prod) - producer > 32) {
      queue.ring.store_index(RingOffsets::rsp_prod, producer);
    }
    world.settle();
    answered += queue.take().size();
  }
  EXPECT_EQ(queue.counters->reads.get(), answered);
  EXPECT_EQ(queue.ring.outstanding(), 0U);
  EXPECT_EQ(queue.counters->ring_stopped.get(), 0U);
}

// --- events ---
TEST_P(HostileRing, AFloodOfEventsCostsOneForEachPass) {
  connect();
  world.settle();
  const auto before = queue.counters->events.get();
  for (int pass = 0; pass < 10; ++pass) {
    for (int i = 0; i < 1000; ++i) queue.port->notify();
    world.pass();
  }
  EXPECT_LE(queue.counters->events.get() - before, 10U);
  EXPECT_EQ(world.xen.usage().notifies, 0U) << "no event without a response";
}

TEST_P(HostileRing, ALostEventIsMadeUpForByTheNext) {
  connect();
  world.settle();
  world.xen.faults().lost_events.set(1);
  queue.send(queue.read(0, page.ref));
  world.settle();
  queue.put(queue.read(0, page.ref));
  queue.ring.publish();
  queue.port->notify();
  world.settle();
  EXPECT_EQ(queue.take().size(), 2U);
}

TEST_P(HostileRing, ResponsesOfOnePassCostOneEvent) {
  connect();
  for (int i = 0; i < 32; ++i) queue.put(queue.read(0, page.ref));
  queue.push();
  const auto before = world.xen.usage().notifies.load();
  world.settle();
  EXPECT_EQ(queue.take().size(), 32U);
  EXPECT_EQ(world.xen.usage().notifies, before + 1);
}

TEST_P(HostileRing, DataOfOnePassIsMovedByOneCall) {
  connect();
  GuestQueue second(domain, GetParam());
  world.connect(second);
  for (auto* ring : {&queue, &second}) {
    for (int i = 0; i < 16; ++i) ring->put(ring->write(0, page.ref));
    ring->push();
  }
  const auto before = world.xen.usage().copy_calls.load();
  world.settle();
  EXPECT_EQ(world.xen.usage().copy_calls, before + 1);
  EXPECT_EQ(queue.take().size() + second.take().size(), 32U);
}

}  // namespace
}  // namespace xenblk::ringio::test
