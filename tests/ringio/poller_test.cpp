// When a worker keeps looking at its rings and when it gives up: pure decisions on given times.
#include "ringio/poller.h"

#include <gtest/gtest.h>

#include "ringio/refusal_budget.h"

namespace xenblk::ringio::test {
namespace {

using std::chrono::microseconds;

constexpr std::uint64_t kUs = 1000;

class PollerTest : public testing::Test {
 protected:
  Poller poller{{.window = microseconds(50), .budget_percent = 10}};
  Instant now{1'000'000'000};

  bool active(Awaited awaited = Awaited::guest) { return poller.stay_awake(now, true, awaited); }
  // After so long, in which nothing came.
  bool after(std::uint64_t us, Awaited awaited = Awaited::guest) {
    now.ns += us * kUs;
    return poller.stay_awake(now, false, awaited);
  }
  // One occasion on which nothing comes; whether it was taken.
  bool in_vain(Awaited awaited = Awaited::guest) {
    if (!active(awaited)) return false;
    EXPECT_FALSE(after(60, awaited));
    return true;
  }
};

TEST_F(PollerTest, NeverPollsWithoutAWindow) {
  Poller never{PollingOptions{}};
  EXPECT_FALSE(never.stay_awake(now, true, Awaited::guest));
  EXPECT_FALSE(never.enabled());
}
TEST_F(PollerTest, PollsForTheWindowAfterWork) {
  EXPECT_TRUE(active());
  EXPECT_TRUE(after(30));
  EXPECT_TRUE(after(19));
  EXPECT_FALSE(after(1));
  EXPECT_FALSE(after(1)) << "sleeping is not interrupted by asking again";
}
TEST_F(PollerTest, GoesOnForAsLongAsThereIsWork) {
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(active());
    ASSERT_TRUE(after(1)) << i;
  }
}
TEST_F(PollerTest, IsIdleWhenNothingHasHappened) {
  EXPECT_FALSE(after(1));
}
TEST_F(PollerTest, TriesLessAndLessOftenWhileItDoesNotPay) {
  int tried = 0;
  for (int i = 0; i < 1024; ++i) {
    now.ns += 100'000 * kUs;  // the budget is no matter
    tried += in_vain() ? 1 : 0;
  }
  EXPECT_GE(tried, 8);
  EXPECT_LE(tried, 14);
}
TEST_F(PollerTest, ForgetsFailuresWithTheFirstSuccess) {
  while (!in_vain()) now.ns += 100'000 * kUs;
  while (!active()) now.ns += 100'000 * kUs;
  EXPECT_TRUE(active()) << "the second one came while it was polling";
  EXPECT_FALSE(after(60));
  EXPECT_FALSE(active()) << "passes over one occasion only";
  EXPECT_TRUE(active());
}
TEST_F(PollerTest, LearnsSeparatelyWhatItWaitsFor) {
  for (int i = 0; i < 100; ++i) in_vain(Awaited::image);
  EXPECT_TRUE(active(Awaited::guest));
}
TEST_F(PollerTest, WastesNoMoreThanItsBudget) {
  // Every other time it pays, so that experience alone would never stop it.
  poller = Poller({.window = microseconds(50), .budget_percent = 2});
  std::uint64_t wasted_us = 0;
  const auto begin = now.ns;
  while (now.ns - begin < 1'000'000 * kUs) {
    if (active() && after(1)) active();
    wasted_us += in_vain() ? 60 : 0;
    now.ns += 10 * kUs;
  }
  EXPECT_LE(wasted_us, 20'600U);
  EXPECT_GE(wasted_us, 15'000U);
}

TEST(RefusalBudget, AllowsABurstAndThenAThousandASecond) {
  RefusalBudget budget;
  Instant now{5'000'000'000};
  for (std::uint64_t i = 0; i < RefusalBudget::kBurst; ++i) {
    ASSERT_FALSE(budget.exhausted(now));
    budget.spend(now);
  }
  std::uint64_t more = 0;
  for (int ms = 0; ms < 10'000; ++ms) {
    for (; !budget.exhausted(now); ++more) budget.spend(now);
    EXPECT_GT(budget.next(), now);
    now.ns += 1'000'000;
  }
  EXPECT_NEAR(static_cast<double>(more), 10'000, 2);
}
TEST(RefusalBudget, RecoversInFullWhenTheGuestBehaves) {
  RefusalBudget budget;
  Instant now{1};
  while (!budget.exhausted(now)) budget.spend(now);
  now.ns += 2'000'000'000;
  std::uint64_t allowed = 0;
  for (; !budget.exhausted(now); ++allowed) budget.spend(now);
  EXPECT_EQ(allowed, RefusalBudget::kBurst);
}

}  // namespace
}  // namespace xenblk::ringio::test
