// A dynamic image on a disk that is simulated: nothing that was promised is lost when the process
// is killed or the power cut.
#include <gtest/gtest.h>

#include "tests/vhd/image_work.h"

namespace xenblk::vhd {
namespace {

using test::base_seed;
using test::kCapacitySectors;
using test::run_lives;
using test::seed_count;
using test::SimDisk;
using test::SimEngine;
using test::SimFile;

constexpr std::uint32_t kBlockBytes = 16384;

test::Scene dynamic_scene() {
  return {.create = [](File& file) {
    EXPECT_TRUE(create_vhd(
        file, {.capacity = {kCapacitySectors}, .block_bytes = kBlockBytes, .uuid = Uuid{}}));
  }};
}

TEST(Crash, LosesNothingThatWasPromised) {
  const auto base = base_seed();
  int kills = 0;
  int power_cuts = 0;
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_lives(dynamic_scene(), seed, 5, [](SimDisk&) {});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
    kills += result.kills;
    power_cuts += result.power_cuts;
  }
  std::cout << "seeds " << base << "+" << seed_count() << ": " << kills << " kills, " << power_cuts
            << " power cuts\n";
}

// The test of the test: a disk that only pretends to sync loses what was promised, and that is
// seen.
TEST(Crash, IsNoticedWhenTheDiskDoesNotSync) {
  const auto base = base_seed();
  int seen = 0;
  for (int i = 0; i < 3; ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result =
        run_lives(dynamic_scene(), seed, 2, [](SimDisk& disk) { disk.loses_syncs = true; });
    seen += result.wrong.empty() ? 0 : 1;
  }
  EXPECT_GT(seen, 0) << "XENBLK_TEST_SEED=" << base;
}

TEST(Crash, LosesNothingWhenOperationsFail) {
  const auto base = base_seed();
  for (int i = 0; i < seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    const auto result = run_lives(dynamic_scene(), seed, 4, [](SimDisk& disk) {
      disk.fault = [&disk](const IoOp&) {
        const auto dice = disk.random()() % 60;
        return dice == 0 ? EIO : dice == 1 ? ENOSPC : 0;
      };
    });
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

TEST(FullDisk, StaysReadableAndTakesWritesAgainOnceThereIsRoom) {
  const auto seed = base_seed();
  SCOPED_TRACE("XENBLK_TEST_SEED=" + std::to_string(seed));
  SimDisk disk(seed);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {kCapacitySectors}, .block_bytes = kBlockBytes}));
  auto image = std::move(open_scene(dynamic_scene(), disk, Access::read_write).value());
  SimEngine engine(disk);
  test::BlockingDisk guest(*image, engine);
  ASSERT_EQ(guest.write(0, test::bytes_of(8, 1)), IoStatus::okay);
  disk.room_sectors = disk.content().sectors.size();
  for (int attempt = 0; attempt < 2000; ++attempt) {
    ASSERT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::no_space);
  }
  EXPECT_EQ(guest.read(0, 8).data, test::bytes_of(8, 1));
  EXPECT_EQ(guest.read(100, 8).data, test::bytes_of(8, 0));
  EXPECT_LT(disk.content().size_bytes, 1U << 20)
      << "failed attempts must not use up the file's room";
  disk.room_sectors = ~std::uint64_t{0};
  EXPECT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::okay);
  EXPECT_EQ(guest.read(96, 16).data.at(4 * 512), std::byte{2});
  EXPECT_TRUE(image->finish());
}

}  // namespace
}  // namespace xenblk::vhd
