// Seeds of the whole-system simulation: some always, those that once found something, and one that
// nobody has seen yet. And the simulation itself: it must find bugs that are built in.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/sim/system/plan.h"

namespace xenblk::sim {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 10;
#else
constexpr std::uint64_t kSeeds = 60;
#endif

TEST(System, HoldsForTheFirstSeeds) {
  SystemResult all;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const auto result = run_system({.seed = seed});
    ASSERT_EQ(result.wrong, "") << "seed " << seed;
    all.add(result);
  }
  // What is not there finds nothing.
  EXPECT_GT(all.requests, 100 * kSeeds);
  EXPECT_GT(all.refused, kSeeds);
  EXPECT_GT(all.failed, 0U);
  EXPECT_GT(all.abuses, 100 * kSeeds);
  EXPECT_GT(all.crashes, kSeeds);
  // About one in three seeds has restarts.
  if (kSeeds > 20) {
    EXPECT_GT(all.restarts, 0U);
    EXPECT_GT(all.kills, kSeeds / 4);
  }
}

TEST(System, HoldsForASeedThatNobodyHasSeen) {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  const auto first = text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  std::cout << "XENBLK_TEST_SEED=" << first << '\n';
  for (auto seed = first; seed < first + kSeeds / 10; ++seed) {
    EXPECT_EQ(run_system({.seed = seed}).wrong, "") << "./dev sim --seed " << seed;
  }
}

TEST(System, DoesTheSameForTheSameSeed) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const auto once = run_system({.seed = seed});
    const auto again = run_system({.seed = seed});
    EXPECT_EQ(once.trace, again.trace) << "seed " << seed;
    EXPECT_EQ(once.abuses, again.abuses) << "seed " << seed;
  }
}

class Bugs : public testing::TestWithParam<Sabotage> {};
INSTANTIATE_TEST_SUITE_P(Each, Bugs,
                         testing::Values(Sabotage::flush_dropped, Sabotage::request_lost,
                                         Sabotage::read_too_early, Sabotage::write_misplaced,
                                         Sabotage::answered_twice, Sabotage::fetched_twice,
                                         Sabotage::unmapped_late, Sabotage::slot_leaked));

TEST_P(Bugs, AreFound) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const auto result = run_system({.seed = seed, .sabotage = GetParam()});
    if (result.wrong.empty()) continue;
    std::cout << "seed " << seed << ": " << result.wrong << '\n';
    return;
  }
  FAIL() << "200 seeds did not find it";
}

}  // namespace
}  // namespace xenblk::sim
