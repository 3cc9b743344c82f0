// What an administrator does to a disk that is in use: limits, and pauses.
#include <gtest/gtest.h>

#include <array>

#include "ringio/rate_limiter.h"
#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::RingOffsets;
using blkif::Status;
using std::chrono::milliseconds;

constexpr std::uint64_t kMs = 1'000'000;

// --- the buckets alone ---
constexpr Instant kBegin{5'000'000'000};

TEST(RateLimiter, AllowsAnythingUntilItIsSet) {
  RateLimiter limiter;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(limiter.allows(kBegin));
    limiter.charge_operation(kBegin);
    limiter.charge_bytes(kBegin, 16U << 20);
  }
}

TEST(RateLimiter, LetsWhoHadItsTurnWaitLonger) {
  RateLimiter limiter;
  EXPECT_EQ(limiter.next(kBegin, RateLimiter::kTurnNs), Instant{}) << "not without a limit";
  limiter.set({.operations_per_second = 100, .burst_ns = kMs});
  limiter.charge_operation(kBegin);
  const auto due = limiter.next(kBegin);
  EXPECT_EQ(due, Instant{kBegin.ns + 9 * kMs});
  EXPECT_EQ(limiter.next(kBegin, RateLimiter::kTurnNs), Instant{due.ns + RateLimiter::kTurnNs});
  EXPECT_GT(limiter.next(due, RateLimiter::kTurnNs), due);
}

TEST(RateLimiter, GivesTheBurstAtOnceAndThenTheRate) {
  RateLimiter limiter;
  limiter.set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  int taken = 0;
  for (; limiter.allows(kBegin); ++taken) limiter.charge_operation(kBegin);
  EXPECT_EQ(taken, 11) << "ten that were saved up, and one that is due";
  EXPECT_EQ(limiter.next(kBegin), Instant{kBegin.ns + kMs});
  EXPECT_TRUE(limiter.allows({kBegin.ns + kMs}));
}

TEST(RateLimiter, SavesUpNoMoreThanTheBurst) {
  RateLimiter limiter;
  limiter.set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  limiter.charge_operation(kBegin);
  const Instant later{kBegin.ns + 3'600'000 * kMs};
  int taken = 0;
  for (; limiter.allows(later); ++taken) limiter.charge_operation(later);
  EXPECT_EQ(taken, 11);
}

TEST(RateLimiter, LetsARequestThatIsLargerThanTheBurstPassAndWaitsAfterwards) {
  RateLimiter limiter;
  limiter.set({.bytes_per_second = 1U << 20, .burst_ns = kMs});
  ASSERT_TRUE(limiter.allows(kBegin));
  limiter.charge_bytes(kBegin, 16U << 20);
  EXPECT_FALSE(limiter.allows({kBegin.ns + 15'998 * kMs}));
  EXPECT_TRUE(limiter.allows({kBegin.ns + 15'999 * kMs}));
}

TEST(RateLimiter, ForgetsWhatIsOwedWhenItIsSetAnew) {
  RateLimiter limiter;
  limiter.set({.operations_per_second = 1});
  limiter.charge_operation(kBegin);
  ASSERT_FALSE(limiter.allows(kBegin));
  limiter.set({.operations_per_second = 1000});
  EXPECT_TRUE(limiter.allows(kBegin));
  limiter.set({});
  EXPECT_EQ(limiter.get(), RateLimits{});
}

TEST(RateLimiter, CannotOverflowWithTheSlowestRateAndTheLargestRequest) {
  RateLimiter limiter;
  limiter.set({.bytes_per_second = kPageBytes, .burst_ns = kMs});
  const Instant late{std::uint64_t{1} << 62};
  limiter.charge_bytes(late, 16U << 20);
  EXPECT_FALSE(limiter.allows(late));
  EXPECT_EQ(limiter.next(late).ns, late.ns + 4096'000 * kMs - kMs);
}

// --- a ring with limits, on virtual time ---
class LimitedRing : public OneQueue {
 protected:
  std::shared_ptr<RateLimiter> limiter = std::make_shared<RateLimiter>();
  QueueId id;

  void SetUp() override {
    auto setup = queue.setup(world.image);
    setup.limiter = limiter;
    id = world.connect(std::move(setup));
    world.settle();
  }
  // How long it takes to answer so many reads of a page, always with a full ring.
  double seconds_for(int requests) {
    const auto begin = world.clock.now();
    for (int done = 0; done < requests; done += 32) {
      for (int i = 0; i < 32; ++i) queue.put(queue.read(0, page.ref));
      queue.push();
      world.settle();
      EXPECT_EQ(queue.take().size(), 32U);
    }
    return static_cast<double>(world.clock.now().ns - begin.ns) * 1e-9;
  }
};
XENBLK_FOR_ALL_LAYOUTS(LimitedRing);

TEST_P(LimitedRing, GetsItsRequestsASecond) {
  limiter->set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  EXPECT_NEAR(seconds_for(3200), 3.2, 0.05);
  EXPECT_GT(queue.counters->limited.get(), 100U);
  EXPECT_EQ(queue.counters->throttled.get(), 0U) << "it did nothing wrong";
}

TEST_P(LimitedRing, GetsItsBytesASecond) {
  limiter->set({.bytes_per_second = 1U << 20, .burst_ns = 10 * kMs});
  EXPECT_NEAR(seconds_for(256), 1, 0.05);
}

TEST_P(LimitedRing, IsNotLimitedAnyMoreOnceTheLimitIsTakenAway) {
  limiter->set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  seconds_for(320);
  limiter->set({});
  EXPECT_LT(seconds_for(3200), 0.1);
}

TEST_P(LimitedRing, PaysForAnIndirectRequestByItsSize) {
  world.core->disconnect(id, [] {});
  world.settle();
  world.connected.clear();
  GuestQueue second(domain, GetParam());
  auto setup = second.setup(world.image);
  setup.limiter = limiter;
  setup.indirect_segments_max = 256;
  world.connect(std::move(setup));
  limiter->set({.bytes_per_second = 1U << 20, .burst_ns = kMs});
  std::vector<loopback::FrontendSegment> pages(64, {page.ref});
  const auto begin = world.clock.now();
  for (int i = 0; i < 9; ++i) second.send(second.indirect(Op::read, 0, pages));
  world.settle();
  EXPECT_EQ(second.take().size(), 9U);
  // The last one is not waited for.
  EXPECT_NEAR(static_cast<double>(world.clock.now().ns - begin.ns) * 1e-9, 2, 0.05);
}

TEST_P(LimitedRing, CanBeClosedWhileItWaits) {
  limiter->set({.operations_per_second = 1, .burst_ns = kMs});
  for (int i = 0; i < 8; ++i) queue.put(queue.read(0, page.ref));
  queue.push();
  world.pass();
  world.pass();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  const auto begin = world.clock.now();
  world.settle();
  EXPECT_TRUE(closed);
  EXPECT_LT(world.clock.now().ns - begin.ns, 10 * kMs) << "what is in the ring is not served";
}

TEST_P(LimitedRing, SharesItsLimitWithTheOtherRingsOfItsDisk) {
  GuestQueue second(domain, GetParam());
  auto setup = second.setup(world.image);
  setup.limiter = limiter;
  world.connect(std::move(setup));
  limiter->set({.operations_per_second = 1000, .burst_ns = kMs});
  const auto begin = world.clock.now();
  for (int round = 0; round < 10; ++round) {
    for (auto* one : {&queue, &second}) {
      for (int i = 0; i < 32; ++i) one->put(one->read(0, page.ref));
      one->push();
    }
    world.settle();
    EXPECT_EQ(queue.take().size() + second.take().size(), 64U);
  }
  EXPECT_NEAR(static_cast<double>(world.clock.now().ns - begin.ns) * 1e-9, 0.64, 0.02);
}

// --- two disks of one guest, which share what one limit allows ---
class GuestLimitedRings : public OneQueue {
 protected:
  std::shared_ptr<RateLimiter> shared = std::make_shared<RateLimiter>();
  std::array<std::shared_ptr<RateLimiter>, 2> own{std::make_shared<RateLimiter>(),
                                                  std::make_shared<RateLimiter>()};
  GuestQueue second{domain, GetParam()};
  std::array<std::uint64_t, 2> answered{};

  void SetUp() override {
    std::uint32_t device = 51712;
    for (auto* one : {&queue, &second}) {
      auto setup = one->setup(world.image);
      setup.limiter = own[device == 51712 ? 0 : 1];
      setup.guest_limiter = shared;
      setup.device = {device};
      device += 16;
      world.connect(std::move(setup));
    }
    world.settle();
    for (auto* one : {&queue, &second}) fill(*one, 32);
  }
  void TearDown() override {
    shared->set({});
    for (const auto& limiter : own) limiter->set({});
    world.settle();
  }
  void fill(GuestQueue& one, std::size_t requests) {
    for (std::size_t i = 0; i < requests; ++i) one.put(one.read(0, page.ref));
    if (requests != 0) one.push();
  }
  // Both rings are full all the time. `busy`: the worker has other things to do, and looks again
  // whenever so much time has gone.
  void run_for(std::chrono::nanoseconds time, std::chrono::nanoseconds busy) {
    answered = {};
    const auto end = world.clock.now().ns + static_cast<std::uint64_t>(time.count());
    while (world.clock.now().ns < end) {
      world.pass_events();
      world.core->pass(LoopEngine::kNoWait);
      world.clock.advance(busy);
      std::size_t which = 0;
      for (auto* one : {&queue, &second}) {
        const auto done = one->take().size();
        answered[which++] += done;
        fill(*one, done);
      }
    }
  }
};
XENBLK_FOR_ALL_LAYOUTS(GuestLimitedRings);

TEST_P(GuestLimitedRings, GetTogetherWhatOneLimitAllows) {
  shared->set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  run_for(milliseconds(2000), std::chrono::microseconds(10));
  EXPECT_NEAR(static_cast<double>(answered[0] + answered[1]), 2000, 40);
  EXPECT_GT(queue.counters->guest_limited.get(), 100U);
  EXPECT_EQ(queue.counters->limited.get(), 0U) << "it has none of its own";
}

TEST_P(GuestLimitedRings, GetTogetherTheBytesThatOneLimitAllows) {
  shared->set({.bytes_per_second = 4U << 20, .burst_ns = 10 * kMs});
  run_for(milliseconds(2000), std::chrono::microseconds(10));
  EXPECT_NEAR(static_cast<double>(answered[0] + answered[1]), 2048, 40);
}

// However much comes at once when the worker looks.
TEST_P(GuestLimitedRings, GetTheirTurns) {
  for (const auto rate : {100U, 1000U, 20'000U}) {
    for (const auto busy : {10, 300, 3000}) {
      shared->set({.operations_per_second = rate, .burst_ns = 10 * kMs});
      run_for(milliseconds(2000), std::chrono::microseconds(busy));
      const auto half = static_cast<double>(answered[0] + answered[1]) / 2;
      EXPECT_NEAR(static_cast<double>(answered[0]), half, half / 5 + 12) << rate << " " << busy;
    }
  }
}

TEST_P(GuestLimitedRings, KeepToTheirOwnLimitsBeside) {
  shared->set({.operations_per_second = 1000, .burst_ns = 10 * kMs});
  own[0]->set({.operations_per_second = 200, .burst_ns = 10 * kMs});
  run_for(milliseconds(2000), std::chrono::microseconds(10));
  EXPECT_NEAR(static_cast<double>(answered[0]), 400, 20);
  EXPECT_NEAR(static_cast<double>(answered[1]), 1600, 40) << "the other one gets the rest";
  EXPECT_GT(queue.counters->limited.get(), 100U);
}

TEST_P(GuestLimitedRings, AreNotLimitedAnyMoreOnceTheLimitIsTakenAway) {
  shared->set({.operations_per_second = 100, .burst_ns = 10 * kMs});
  run_for(milliseconds(100), std::chrono::microseconds(10));
  shared->set({});
  run_for(milliseconds(100), std::chrono::microseconds(10));
  EXPECT_GT(answered[0], 10'000U);
}

// --- pauses ---
class PausedRing : public OneQueue {
 protected:
  QueueId id;
  int told = 0;

  void SetUp() override {
    id = connect();
    world.settle();
  }
  void pause() {
    world.core->pause(id, [this] { ++told; });
    world.settle();
  }
};
XENBLK_FOR_ALL_LAYOUTS(PausedRing);

TEST_P(PausedRing, TakesNothingUntilItIsResumed) {
  pause();
  EXPECT_EQ(told, 1);
  for (int i = 0; i < 4; ++i) queue.send(queue.read(0, page.ref));
  world.settle();
  EXPECT_EQ(queue.take().size(), 0U);
  world.core->resume(id);
  world.settle();
  EXPECT_EQ(queue.take().size(), 4U);
  expect_alive();
  EXPECT_EQ(told, 1);
}

TEST_P(PausedRing, TellsThatItRestsOnlyWhenAllThatWasTakenIsAnswered) {
  world.image->hold();
  queue.send(queue.read(0, page.ref));
  world.settle();
  pause();
  EXPECT_EQ(told, 0);
  world.image->release_all();
  world.settle();
  EXPECT_EQ(told, 1);
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(PausedRing, TellsWhoeverWaitsForItsRestWhenItIsResumedBefore) {
  world.image->hold();
  queue.send(queue.read(0, page.ref));
  world.settle();
  pause();
  world.core->resume(id);
  EXPECT_EQ(told, 1);
  world.image->release_all();
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
  EXPECT_EQ(told, 1);
}

TEST_P(PausedRing, CanBeClosedAndTellsBoth) {
  world.image->hold();
  queue.send(queue.read(0, page.ref));
  world.settle();
  pause();
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  world.image->release_all();
  world.settle();
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(closed);
}

TEST_P(PausedRing, FinishesABarrierAndTakesNothingBehindIt) {
  world.image->hold();
  queue.put(queue.transfer(Op::write_barrier, 0, {{page.ref}}));
  queue.put(queue.read(0, page.ref));
  queue.push();
  world.settle();
  pause();
  world.image->release_all();
  world.settle();
  EXPECT_EQ(told, 1);
  EXPECT_EQ(queue.take().size(), 1U);
  world.core->resume(id);
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(PausedRing, IsDoneAtOnceForAQueueThatIsGone) {
  world.core->pause({12345}, [this] { ++told; });
  world.core->resume({12345});
  EXPECT_EQ(told, 1);
}

TEST_P(PausedRing, OfAStoppedRingStaysStopped) {
  queue.ring.store_index(RingOffsets::req_prod, 5000);
  queue.port->notify();
  world.settle();
  pause();
  EXPECT_EQ(told, 1);
  world.core->resume(id);
  world.settle();
  EXPECT_EQ(queue.counters->ring_stopped.get(), 1U);
}

}  // namespace
}  // namespace xenblk::ringio::test
