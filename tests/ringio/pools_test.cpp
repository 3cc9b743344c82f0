// Request slots and buffers: fixed numbers of both, and the life of a slot.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "ringio/buffer_pool.h"
#include "ringio/plan.h"
#include "ringio/slot_pool.h"
#include "tests/memory_flags.h"

namespace xenblk::ringio::test {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// --- slots ---
constexpr std::array kSteps = {Step::free,     Step::taken,    Step::table_in, Step::data_in,
                               Step::at_image, Step::data_out, Step::answered, Step::put_off};

TEST(SlotLife, LeavesEveryStepTowardsTheAnswerOrForItsNextPiece) {
  for (const Step from : kSteps) {
    for (const Step to : kSteps) {
      const bool next_piece = (from == Step::at_image && to == Step::data_in) ||
                              (from == Step::data_out && to == Step::at_image);
      const bool is_last = from == Step::answered || from == Step::put_off;
      EXPECT_TRUE(!may_follow(from, to) || is_last || to >= from || next_piece);
    }
  }
}
TEST(SlotLife, NeverFetchesItsSegmentsTwice) {
  for (const Step from : kSteps) EXPECT_EQ(may_follow(from, Step::table_in), from == Step::taken);
}
TEST(SlotLife, IsAnsweredOnce) {
  for (const Step to : kSteps) EXPECT_EQ(may_follow(Step::answered, to), to == Step::free);
}
// One that is put off needs no slot any more: its ring gives it again.
TEST(SlotLife, BecomesFreeOnlyByAnAnswerOrWhenItIsPutOff) {
  for (const Step from : kSteps) {
    EXPECT_EQ(may_follow(from, Step::free), from == Step::answered || from == Step::put_off);
  }
}
TEST(SlotLife, WhatIsPutOffOnlyLeavesItsSlot) {
  for (const Step to : kSteps) EXPECT_EQ(may_follow(Step::put_off, to), to == Step::free);
}
TEST(SlotLifeDeathTest, AnsweringTwiceIsOurOwnMistake) {
  SlotPool pool(1);
  RequestSlot& slot = *pool.take();
  slot.go(Step::at_image);
  slot.go(Step::answered);
  EXPECT_DEATH(slot.go(Step::answered), "may_follow");
  pool.give_back(slot);
}

TEST(SlotPool, GivesEachSlotOnceAndThenNone) {
  SlotPool pool(3);
  std::set<RequestSlot*> taken;
  for (int i = 0; i < 3; ++i) taken.insert(pool.take());
  EXPECT_EQ(taken.size(), 3U);
  EXPECT_EQ(pool.take(), nullptr);
  EXPECT_EQ(pool.in_use(), 3U);
  for (RequestSlot* slot : taken) {
    slot->go(Step::at_image);
    slot->go(Step::answered);
    pool.give_back(*slot);
  }
  EXPECT_EQ(pool.in_use(), 0U);
}

// --- what a request asks of the image ---
Phases plan_of(blkif::Op op, std::uint32_t segments) {
  Request request;
  request.op = op;
  request.segment_count = segments;
  return plan(request);
}
std::vector<ImageOp> ops(const Phases& phases) {
  return {phases.ops.begin(), phases.ops.begin() + phases.count};
}
TEST(Plan, FlushesBeforeTheDataOfAFlush) {
  using enum ImageOp;
  EXPECT_EQ(ops(plan_of(blkif::Op::flush_diskcache, 1)), (std::vector{flush, write}));
  EXPECT_EQ(ops(plan_of(blkif::Op::flush_diskcache, 0)), (std::vector{flush}));
}
TEST(Plan, FlushesOnBothSidesOfTheDataOfABarrier) {
  using enum ImageOp;
  EXPECT_EQ(ops(plan_of(blkif::Op::write_barrier, 1)), (std::vector{flush, write, flush}));
  EXPECT_EQ(ops(plan_of(blkif::Op::write_barrier, 0)), (std::vector{flush}));
}
TEST(Plan, TellsAGuestWhatIsUnsupportedFromWhatFailed) {
  EXPECT_EQ(answer_for(IoStatus::unsupported), blkif::Status::eopnotsupp);
  EXPECT_EQ(answer_for(IoStatus::no_space), blkif::Status::error);
  EXPECT_EQ(answer_for(IoStatus::okay), blkif::Status::okay);
}

// --- buffers ---
class Buffers : public testing::Test {
 protected:
  Arena arena = *Arena::make(2 * kMiB);
  BufferPool pool{arena.memory()};
};

TEST_F(Buffers, StayOutOfCoreFiles) {
  EXPECT_TRUE(xenblk::test::stays_out_of_core_files(arena.memory().data()));
  const std::vector<std::byte> other(kMiB);
  EXPECT_FALSE(xenblk::test::stays_out_of_core_files(other.data()));
}

TEST_F(Buffers, RoundUpToPowersOfTwoOfPages) {
  std::byte* const one = pool.take(1);
  EXPECT_EQ(pool.bytes_in_use(), kPageBytes);
  std::byte* const eleven = pool.take(std::size_t{11} * kPageBytes);
  EXPECT_EQ(pool.bytes_in_use(), 17U * kPageBytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(eleven) % kPageBytes, 0U);
  pool.give_back(one);
  pool.give_back(eleven);
}
TEST_F(Buffers, AreRefusedWhenNoPieceIsLargeEnough) {
  std::byte* const first = pool.take(kMiB);
  std::byte* const small = pool.take(1);
  EXPECT_EQ(pool.take(kMiB), nullptr);
  std::byte* const half = pool.take(kMiB / 2);
  EXPECT_NE(half, nullptr);
  for (std::byte* buffer : {first, small, half}) pool.give_back(buffer);
}
TEST_F(Buffers, JoinAgainToTheLargestSize) {
  std::vector<std::byte*> pages;
  while (std::byte* page = pool.take(1)) pages.push_back(page);
  EXPECT_EQ(pages.size(), 2 * kMiB / kPageBytes);
  for (std::byte* page : pages) pool.give_back(page);
  std::byte* const first = pool.take(kMiB);
  std::byte* const second = pool.take(kMiB);
  EXPECT_NE(first, nullptr);
  EXPECT_NE(second, nullptr);
  pool.give_back(first);
  pool.give_back(second);
}
TEST_F(Buffers, NeverOverlapUnderRandomUse) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<std::byte*, std::size_t> used;
  for (int round = 0; round < 20'000; ++round) {
    if (random() % 2 == 0 && !used.empty()) {
      const auto victim = std::next(used.begin(), random() % used.size());
      pool.give_back(victim->first);
      used.erase(victim);
      continue;
    }
    const std::size_t bytes = 1 + random() % (random() % 8 == 0 ? kMiB : 11 * kPageBytes);
    std::byte* const buffer = pool.take(bytes);
    if (buffer == nullptr) continue;
    const auto [place, added] = used.emplace(buffer, bytes);
    ASSERT_TRUE(added);
    ASSERT_TRUE(place == used.begin() ||
                std::prev(place)->first + std::prev(place)->second <= buffer);
    ASSERT_TRUE(std::next(place) == used.end() || buffer + bytes <= std::next(place)->first);
    ASSERT_LE(buffer + bytes, arena.memory().data() + arena.memory().size());
  }
  for (const auto& [buffer, bytes] : used) pool.give_back(buffer);
  EXPECT_EQ(pool.bytes_in_use(), 0U);
}

}  // namespace
}  // namespace xenblk::ringio::test
