// Power cuts at every moment of many random lives of an image: see power_cut/power_cut.h.
// XENBLK_TEST_SEED and XENBLK_TEST_SEEDS choose others than the usual ones.
#include "tests/vhd/power_cut/power_cut.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <random>

namespace xenblk::power_cut {
namespace {

// Sanitizers make a run about twenty times slower; and there is one thread only.
#if defined(__SANITIZE_THREAD__)
constexpr int kSeeds = 1;
constexpr int kLives = 1;
constexpr std::uint64_t kCutsMin = 0;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int kSeeds = 6;
constexpr int kLives = 3;
constexpr std::uint64_t kCutsMin = 0;
#else
constexpr int kSeeds = 50;
constexpr int kLives = 3;
constexpr std::uint64_t kCutsMin = 100000;
#endif

// Of bugs that were found by a run; each with what it was.
constexpr std::array<std::uint64_t, 0> kSeedsOfPastBugs{};

std::uint64_t base_seed() {
  const char* text = std::getenv("XENBLK_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
}

int seed_count() {
  const char* text = std::getenv("XENBLK_TEST_SEEDS");
  return text != nullptr ? std::atoi(text) : kSeeds;
}

std::uint64_t cuts_min() {
  return std::getenv("XENBLK_TEST_SEEDS") != nullptr ? 0 : kCutsMin;
}

TEST(PowerCut, LosesNothingThatWasPromised) {
  const auto base = base_seed();
  PowerCutResult all;
  int seeds = 0;
  for (; seeds < seed_count() || all.cuts() < cuts_min(); ++seeds) {
    const auto seed = base + static_cast<std::uint64_t>(seeds);
    const auto result = run_power_cuts({.seed = seed, .lives = kLives});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
    all.add(result);
  }
  std::cout << "seeds " << base << "+" << seeds << ": " << all.kills << " kills, " << all.power_cuts
            << " power cuts, " << all.operations << " operations\n";
}

TEST(PowerCut, LosesNothingThatItOnceLost) {
  for (const auto seed : kSeedsOfPastBugs) EXPECT_EQ(run_power_cuts({.seed = seed}).wrong, "");
}

TEST(PowerCut, LosesNothingWhenOperationsFail) {
  const auto base = base_seed();
  std::uint64_t failed = 0;
  for (int i = 0; i < (seed_count() + 4) / 5; ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_power_cuts({.seed = seed, .lives = kLives, .faults = true});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
    failed += result.failed_requests;
  }
  EXPECT_GT(failed, 0U);
}

TEST(PowerCut, LosesNothingOnADeviceThatCannotMakeHoles) {
  const auto base = base_seed();
  for (int i = 0; i < (seed_count() + 9) / 10; ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_power_cuts(
        {.seed = seed, .lives = kLives, .no_holes = true, .kind = ScenarioKind::device});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

#if !defined(__SANITIZE_THREAD__)
// The test of the test: a storage or an image with a bug is found out.
struct Bug {
  Sabotage sabotage;
  ScenarioKind kind;
  const char* name;
};
class Sabotaged : public ::testing::TestWithParam<Bug> {};
INSTANTIATE_TEST_SUITE_P(
    Each, Sabotaged,
    ::testing::Values(
        Bug{Sabotage::syncs_do_nothing, ScenarioKind::own, "OwnSyncsDoNothing"},
        Bug{Sabotage::syncs_do_nothing, ScenarioKind::child, "ChildSyncsDoNothing"},
        Bug{Sabotage::syncs_are_skipped, ScenarioKind::own, "OwnSyncsAreSkipped"},
        Bug{Sabotage::syncs_are_skipped, ScenarioKind::foreign, "ForeignSyncsAreSkipped"},
        Bug{Sabotage::syncs_are_skipped, ScenarioKind::child, "ChildSyncsAreSkipped"},
        Bug{Sabotage::syncs_are_skipped, ScenarioKind::device, "DeviceSyncsAreSkipped"},
        Bug{Sabotage::data_is_late, ScenarioKind::own, "OwnDataIsLate"},
        Bug{Sabotage::data_is_late, ScenarioKind::foreign, "ForeignDataIsLate"},
        Bug{Sabotage::data_is_late, ScenarioKind::child, "ChildDataIsLate"},
        Bug{Sabotage::table_is_late, ScenarioKind::own, "OwnTableIsLate"},
        Bug{Sabotage::table_is_late, ScenarioKind::foreign, "ForeignTableIsLate"},
        Bug{Sabotage::table_is_late, ScenarioKind::child, "ChildTableIsLate"},
        Bug{Sabotage::journal_is_not_synced, ScenarioKind::own, "OwnJournalIsNotSynced"},
        Bug{Sabotage::journal_is_not_synced, ScenarioKind::child, "ChildJournalIsNotSynced"},
        Bug{Sabotage::footer_is_not_synced, ScenarioKind::own, "OwnFooterIsNotSynced"},
        Bug{Sabotage::footer_is_not_synced, ScenarioKind::child, "ChildFooterIsNotSynced"}),
    [](const auto& param) { return param.param.name; });

TEST_P(Sabotaged, IsNoticed) {
  constexpr int kSeedsMax = 40;
  const auto base = base_seed();
  int seeds = 0;
  std::string wrong;
  while (wrong.empty() && seeds < kSeedsMax) {
    const auto seed = base + static_cast<std::uint64_t>(seeds++);
    wrong = run_power_cuts({.seed = seed, .sabotage = GetParam().sabotage, .kind = GetParam().kind})
                .wrong;
  }
  EXPECT_NE(wrong, "") << "XENBLK_TEST_SEED=" << base;
  std::cout << "noticed with seed " << seeds << " of " << kSeedsMax << ": " << wrong << '\n';
}
#endif

}  // namespace
}  // namespace xenblk::power_cut
