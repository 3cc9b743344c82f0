// A differencing image on parents of all kinds: nothing that was promised is lost, and never shows
// a sector something that neither the parents nor a write gave it.
#include <gtest/gtest.h>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/image_work.h"

namespace xenblk::vhd {
namespace {

using test::base_seed;
using test::ChainBuilder;
using test::CrashDisk;
using test::kCapacitySectors;
using test::run_lives;
using test::seed_count;

constexpr std::uint32_t kBlockBytes = 16384;

// Sizes and block sizes all differ, so every boundary lies somewhere within a block of the leaf.
void build(ChainBuilder& chain) {
  switch (chain.random()() % 3) {
    case 0:
      chain.add_raw(3333);
      break;
    case 1:
      chain.add_fixed(3333);
      break;
    default:
      chain.add_dynamic(3333, 65536, 10);
  }
  chain.add_child(5555, 32768, 20);
  chain.add_child(4444, 8192, 20);
}

test::Scene scene_on(const ChainBuilder& chain) {
  return {.create =
              [](File& file) {
                test::make_child(file,
                                 {.capacity = {kCapacitySectors}, .block_bytes = kBlockBytes});
              },
          .parents = chain.levels(),
          .base = chain.content(kCapacitySectors)};
}

TEST(CrashOfAChild, LosesNothingThatWasPromised) {
  const auto base = base_seed();
  int kills = 0;
  int power_cuts = 0;
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    build(chain);
    const auto result = run_lives(scene_on(chain), seed, 5, [](CrashDisk&) {});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
    kills += result.kills;
    power_cuts += result.power_cuts;
  }
  std::cout << "seeds " << base << "+" << seed_count() << ": " << kills << " kills, " << power_cuts
            << " power cuts\n";
}

TEST(CrashOfAChild, IsNoticedWhenTheDiskDoesNotSync) {
  const auto base = base_seed();
  int seen = 0;
  for (int i = 0; i < 3; ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    build(chain);
    const auto result =
        run_lives(scene_on(chain), seed, 2, [](CrashDisk& disk) { disk.loses_syncs = true; });
    seen += result.wrong.empty() ? 0 : 1;
  }
  EXPECT_GT(seen, 0) << "XENBLK_TEST_SEED=" << base;
}

TEST(CrashOfAChild, LosesNothingWhenOperationsFail) {
  const auto base = base_seed();
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    build(chain);
    const auto result = run_lives(scene_on(chain), seed, 4, [](CrashDisk& disk) {
      disk.fault = [&disk](const IoOp&) {
        const auto dice = disk.random()() % 60;
        return dice == 0 ? EIO : dice == 1 ? ENOSPC : 0;
      };
    });
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

}  // namespace
}  // namespace xenblk::vhd
