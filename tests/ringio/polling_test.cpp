// Looking at rings instead of waiting for events: no event is asked for while somebody looks, none
// is missed when nobody does, and a worker without work sleeps.
#include <gtest/gtest.h>

#include <random>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Status;
using std::chrono::microseconds;

class Polling : public testing::TestWithParam<blkif::Layout> {
 protected:
  CoreWorld world{{.polling = {.window = microseconds(50)}}};
  std::shared_ptr<loopback::GuestDomain> domain = world.xen.create_domain({7});
  GuestQueue queue{domain, GetParam()};
  GuestPage page = queue.page();

  void SetUp() override {
    world.connect(queue);
    world.settle();
  }
  // Puts one; whether the backend asked to be told.
  bool push_one() {
    queue.put(queue.read(0, page.ref));
    return queue.ring.publish();
  }
  std::size_t answers_after(int passes) {
    for (int i = 0; i < passes; ++i) world.pass();
    return queue.take().size();
  }
  void expect_asleep() { EXPECT_EQ(world.engine.last_patience, LoopEngine::kForever); }
};
XENBLK_FOR_ALL_LAYOUTS(Polling);

TEST_P(Polling, RequestsAreFoundWithoutAnEvent) {
  queue.send(queue.read(0, page.ref));
  EXPECT_EQ(answers_after(3), 1U);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_FALSE(push_one()) << "nobody needs to be told";
    ASSERT_EQ(answers_after(3), 1U);
  }
}

TEST_P(Polling, AnEventIsAskedForOnceTheWindowIsOver) {
  queue.send(queue.read(0, page.ref));
  world.settle();
  expect_asleep();
  queue.take();
  EXPECT_TRUE(push_one());
}

TEST_P(Polling, AnIdleWorkerSleepsAtOnce) {
  world.pass();
  expect_asleep();
  const auto sleeps = world.core->counters().sleeps.get();
  for (int i = 0; i < 10; ++i) world.pass();
  EXPECT_EQ(world.core->counters().sleeps.get(), sleeps + 10);
}

TEST_P(Polling, ARequestEverySecondIsNotWaitedForForLong) {
  for (int i = 0; i < 64; ++i) {
    world.clock.advance(std::chrono::seconds(1));
    queue.send(queue.read(0, page.ref));
    world.settle();
    queue.take();
  }
  const auto passes = world.core->counters().passes.get();
  for (int i = 0; i < 64; ++i) {
    world.clock.advance(std::chrono::seconds(1));
    queue.send(queue.read(0, page.ref));
    world.settle();
    queue.take();
  }
  EXPECT_LT(world.core->counters().passes.get() - passes, 64U * 10U) << "50 each if it polled";
}

TEST_P(Polling, EventsWithoutRequestsDoNotKeepAWorkerAwake) {
  for (int i = 0; i < 100; ++i) {
    queue.port->notify();
    world.pass();
    expect_asleep();
  }
}

TEST_P(Polling, AQueueThatIsWatchedCanBeClosed) {
  queue.send(queue.read(0, page.ref));
  world.pass();
  world.pass();
  bool closed = false;
  world.core->disconnect(world.connected[0], [&] { closed = true; });
  world.settle();
  EXPECT_TRUE(closed);
  queue.take();
}

// Between any two passes, any number of requests, with an event only when it was asked for.
TEST_P(Polling, NoRequestIsEverForgotten) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  GuestQueue other(domain, GetParam(), 4);
  world.connect(other);
  for (int round = 0; round < 20'000; ++round) {
    for (GuestQueue* one : {&queue, &other}) {
      for (auto n = random() % 6; n > 3 && one->ring.room() != 0; --n) {
        one->put(one->read(random() % 4088, page.ref));
      }
      one->push();
      if (random() % 4 == 0) one->take();
    }
    for (auto passes = random() % 4; passes != 0; --passes) world.pass();
    world.clock.advance(microseconds(random() % 64 == 0 ? 200 : random() % 4));
    if (random() % 16 != 0) continue;
    world.settle();
    queue.take(), other.take();
    ASSERT_EQ(queue.ring.outstanding() + other.ring.outstanding(), 0U) << "in round " << round;
  }
}

// --- rings in which everything is wrong ---
class Throttling : public OneQueue {
 protected:
  void SetUp() override { connect(); }
  void put_bad(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) queue.put(queue.read(1U << 30, page.ref));
    queue.push();
  }
};
XENBLK_FOR_ALL_LAYOUTS(Throttling);

TEST_P(Throttling, BadRequestsBeyondABurstTakeTheirTime) {
  const auto begin = world.clock.now();
  for (int i = 0; i < 100; ++i) {
    put_bad(32);
    world.settle();
    ASSERT_EQ(queue.take().size(), 32U) << "each is answered in the end";
  }
  const auto ms = (world.clock.now().ns - begin.ns) / 1'000'000;
  EXPECT_GE(ms, 3200 - RefusalBudget::kBurst);
  EXPECT_LE(world.core->counters().passes.get(), 4U * 3200U) << "and sleeps meanwhile";
  EXPECT_GT(queue.counters->throttled.get(), 0U);
  expect_alive();
}

TEST_P(Throttling, HoldsUpNobodyElse) {
  GuestQueue other(domain, GetParam());
  world.connect(other);
  for (int i = 0; i < 32; ++i) {
    put_bad(32);
    world.settle();
    queue.take();
  }
  put_bad(32);
  world.pass();
  for (int i = 0; i < 1000; ++i) {
    other.send(other.read(0, page.ref));
    world.pass();
    world.pass();
    ASSERT_EQ(other.take().size(), 1U);
  }
}

TEST_P(Throttling, AThrottledQueueCanBeClosed) {
  for (int i = 0; i < 32; ++i) {
    put_bad(32);
    world.settle();
    queue.take();
  }
  put_bad(32);
  world.pass();
  ASSERT_GT(queue.counters->throttled.get(), 0U);
  bool closed = false;
  world.core->disconnect(world.connected[0], [&] { closed = true; });
  world.settle();
  EXPECT_TRUE(closed);
}

TEST_P(Throttling, AFloodOfEventsWithoutRequestsTakesItsTime) {
  world.settle();
  const auto begin = world.clock.now();
  const auto events = queue.counters->events.get();
  const auto passes = world.core->counters().passes.get();
  for (int i = 0; i < 10'000; ++i) {
    queue.port->notify();
    world.pass();
  }
  const auto ms = (world.clock.now().ns - begin.ns) / 1'000'000;
  EXPECT_LE(queue.counters->events.get() - events, RefusalBudget::kBurst + ms + 1);
  EXPECT_GT(world.core->counters().passes.get() - passes, ms);
  expect_alive();
}

TEST_P(Throttling, GoodRequestsAndFailuresOfTheImageAreNotCounted) {
  for (int i = 0; i < 5000; ++i) {
    world.image->fail_next(IoStatus::io_error);
    ASSERT_EQ(world.status(queue, queue.read(0, page.ref)), Status::error);
    ASSERT_EQ(world.status(queue, queue.read(0, page.ref)), Status::okay);
  }
  EXPECT_EQ(queue.counters->throttled.get(), 0U);
}

TEST_P(Throttling, GrantsThatCannotBeUsedAreCounted) {
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(world.status(queue, queue.transfer(i % 2 == 0 ? blkif::Op::read : blkif::Op::write, 0,
                                                 {{{31000}}})),
              Status::error);
  }
  EXPECT_GT(queue.counters->throttled.get(), 0U);
}

}  // namespace
}  // namespace xenblk::ringio::test
