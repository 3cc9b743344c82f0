// How often a guest is looked at for what it writes.
#include "backend/look_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace xenblk::backend {
namespace {

using negotiation::DeviceKey;
using std::chrono::milliseconds;

constexpr LookRate kRate{.burst = 3, .for_each_disk = 2, .refill = milliseconds(100)};
constexpr std::size_t kFull = 5;  // looks of a guest that has just got its first disk

class Looks : public testing::Test {
 protected:
  void SetUp() override { schedule_.made(disk_); }

  // How many times the frontend of `key` was looked at while its guest wrote this often.
  std::size_t looks_of(const DeviceKey& key, std::size_t writes) {
    std::size_t looks = 0;
    for (std::size_t i = 0; i < writes; ++i) {
      schedule_.changed(key, Change::frontend);
      looks += frontends_seen();
    }
    return looks;
  }
  std::size_t frontends_seen() {
    const auto due = schedule_.take(now_).looks;
    return static_cast<std::size_t>(
        std::ranges::count_if(due, [](const Look& look) { return look.sight != Sight::backend; }));
  }
  std::vector<DeviceKey> keys_seen() {
    std::vector<DeviceKey> keys;
    for (const auto& look : schedule_.take(now_).looks) keys.push_back(look.key);
    return keys;
  }

  const DeviceKey disk_{"vbd", {7}, {51712}};
  const DeviceKey second_{"vbd", {7}, {51728}};
  const DeviceKey neighbour_{"vbd", {8}, {51712}};
  LookSchedule schedule_{kRate};
  LookSchedule::Time now_{std::chrono::seconds(1000)};
};

TEST_F(Looks, AreWithoutDelayForAsLongAsTheBudgetLasts) {
  EXPECT_EQ(looks_of(disk_, kFull), kFull);
  EXPECT_FALSE(schedule_.wait(now_));
}

TEST_F(Looks, ArePutOffWhenAGuestWritesWithoutEnd) {
  EXPECT_EQ(looks_of(disk_, 100000), kFull);
  EXPECT_EQ(schedule_.wait(now_), milliseconds(100));
}

TEST_F(Looks, SayWhetherAnythingElseHasChanged) {
  schedule_.changed(disk_, Change::frontend);
  EXPECT_EQ(schedule_.take(now_).looks.at(0).sight, Sight::frontend);
  schedule_.changed(disk_, Change::frontend);
  schedule_.changed(disk_, Change::backend);
  EXPECT_EQ(schedule_.take(now_).looks.at(0).sight, Sight::both);
  schedule_.changed(disk_, Change::all);
  EXPECT_EQ(schedule_.take(now_).looks.at(0).sight, Sight::both);
}

TEST_F(Looks, ThatWerePutOffSayWhetherAnythingElseHasChanged) {
  looks_of(disk_, kFull + 1);
  now_ += milliseconds(100);
  EXPECT_EQ(schedule_.take(now_).looks.at(0).sight, Sight::frontend);
  looks_of(disk_, 1);
  now_ += milliseconds(100);
  schedule_.changed(disk_, Change::backend);
  EXPECT_EQ(schedule_.take(now_).looks.at(0).sight, Sight::both);
}

TEST_F(Looks, AreMadeOnceTheBudgetAllows) {
  looks_of(disk_, 100);
  now_ += milliseconds(99);
  EXPECT_EQ(frontends_seen(), 0U);
  EXPECT_EQ(schedule_.wait(now_), milliseconds(1));
  now_ += milliseconds(1);
  EXPECT_EQ(frontends_seen(), 1U);
  EXPECT_FALSE(schedule_.wait(now_));
}

TEST_F(Looks, AreAsManyAsTheRateInTheLongRun) {
  looks_of(disk_, 100);
  std::size_t looks = 0;
  for (int i = 0; i < 10000; ++i) {
    now_ += milliseconds(1);
    looks += looks_of(disk_, 1);
  }
  EXPECT_EQ(looks, 2 * 100U - 1) << "each but the last was followed by the event of its watch";
}

// The watch that was taken away fires when it is set again.
TEST_F(Looks, ThatSetTheWatchAgainDoNotPayForItsEvent) {
  looks_of(disk_, kFull + 1);
  now_ += kRate.refill;
  EXPECT_EQ(frontends_seen(), 1U);
  schedule_.changed(disk_, Change::frontend);
  const auto due = schedule_.take(now_);
  EXPECT_EQ(due.looks.size(), 1U);
  EXPECT_TRUE(due.put_off.empty());
  EXPECT_EQ(looks_of(disk_, 10), 0U) << "that was the only one";
}

TEST_F(Looks, AtEverythingSetTheWatchAgainToo) {
  looks_of(disk_, 1000);
  schedule_.changed(disk_, Change::all);
  EXPECT_EQ(frontends_seen(), 1U);
  EXPECT_EQ(looks_of(disk_, 10), 1U);
}

TEST_F(Looks, OfManyChangesAreOne) {
  for (int i = 0; i < 1000; ++i) schedule_.changed(disk_, Change::frontend);
  EXPECT_EQ(frontends_seen(), 1U);
}

TEST_F(Looks, OfANeighbourAreNotPutOff) {
  schedule_.made(neighbour_);
  looks_of(disk_, 1000);
  EXPECT_EQ(looks_of(neighbour_, 1), 1U);
}

TEST_F(Looks, AtWhatDom0WritesAreNeverPutOffAndLeaveTheFrontendAlone) {
  looks_of(disk_, 1000);
  for (int i = 0; i < 100; ++i) {
    schedule_.changed(disk_, Change::backend);
    const auto due = schedule_.take(now_).looks;
    ASSERT_EQ(due.size(), 1U);
    EXPECT_EQ(due[0].sight, Sight::backend);
  }
  EXPECT_TRUE(schedule_.wait(now_)) << "the look at the frontend is still to come";
}

TEST_F(Looks, AtWhatDom0WritesGoTogetherWithOneThatIsPutOff) {
  looks_of(disk_, kFull);
  schedule_.changed(disk_, Change::frontend);
  schedule_.changed(disk_, Change::backend);
  const auto due = schedule_.take(now_);
  EXPECT_EQ(due.put_off, std::vector{disk_});
  ASSERT_EQ(due.looks.size(), 1U);
  EXPECT_EQ(due.looks[0].sight, Sight::backend);
}

TEST_F(Looks, AtEverythingNeedNoBudget) {
  looks_of(disk_, 1000);
  schedule_.changed(disk_, Change::all);
  EXPECT_EQ(frontends_seen(), 1U);
  EXPECT_FALSE(schedule_.wait(now_)) << "nothing is left to be seen";
}

TEST_F(Looks, AreToldToBePutOffOnceUntilTheyAreMade) {
  looks_of(disk_, kFull);
  for (const std::size_t told : {1U, 0U, 0U}) {
    schedule_.changed(disk_, Change::frontend);
    EXPECT_EQ(schedule_.take(now_).put_off.size(), told);
  }
}

TEST_F(Looks, AtTheDisksOfOneGuestTakeTurns) {
  schedule_.made(second_);
  looks_of(disk_, 1000);
  looks_of(second_, 1000);
  for (int round = 0; round < 5; ++round) {
    for (const auto& key : {disk_, second_}) {
      now_ += kRate.refill;
      EXPECT_EQ(keys_seen(), std::vector{key}) << round;
      schedule_.changed(key, Change::frontend);
      EXPECT_EQ(keys_seen(), std::vector{key}) << "the event of its watch";
      schedule_.changed(key, Change::frontend);
      EXPECT_EQ(keys_seen().size(), 0U);
    }
  }
}

TEST_F(Looks, GetMoreBudgetWithEachDisk) {
  looks_of(disk_, 1000);
  schedule_.made(second_);
  EXPECT_EQ(frontends_seen() + looks_of(second_, 1000), kRate.for_each_disk);
}

TEST_F(Looks, AreForgottenWithTheirDisk) {
  looks_of(disk_, 1000);
  schedule_.gone(disk_);
  EXPECT_FALSE(schedule_.wait(now_));
  now_ += std::chrono::seconds(10);
  EXPECT_EQ(keys_seen().size(), 0U);
}

TEST_F(Looks, OfTheNextGuestWithTheSameNumberHaveTheirOwnBudget) {
  looks_of(disk_, 1000);
  schedule_.gone(disk_);
  schedule_.made(disk_);
  EXPECT_EQ(looks_of(disk_, 1000), kFull);
}

TEST_F(Looks, AtADiskThatIsNotThereYetNeedNoBudget) {
  schedule_.changed(neighbour_, Change::all);
  EXPECT_EQ(keys_seen(), std::vector{neighbour_});
}

}  // namespace
}  // namespace xenblk::backend
