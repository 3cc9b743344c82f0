// An image on a storage that has no room left.
#include <gtest/gtest.h>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/power_cut/scenario.h"

namespace xenblk::vhd {
namespace {

TEST(FullDisk, StaysReadableAndTakesWritesAgainOnceThereIsRoom) {
  std::mt19937_64 random(std::random_device{}());
  const power_cut::Scenario scenario{
      .sectors = 5000, .sectors_max = 5000, .block_bytes = 16384, .tuning = {}};
  power_cut::SectorModel model(scenario.sectors);
  const auto seed = random();
  SCOPED_TRACE("seed " + std::to_string(seed));
  power_cut::SimStorage storage(seed, power_cut::make_scenario(scenario, random, model));
  power_cut::StorageFiles files(storage);
  auto image = std::move(power_cut::open_scenario(scenario, files, Access::read_write).value());
  test::BlockingDisk guest(*image, files.engine());
  ASSERT_EQ(guest.write(0, test::bytes_of(8, 1)), IoStatus::okay);
  storage.room_pages = storage.contents()[0].data_pages();
  for (int attempt = 0; attempt < 2000; ++attempt) {
    ASSERT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::no_space);
  }
  EXPECT_EQ(guest.read(0, 8).data, test::bytes_of(8, 1));
  EXPECT_EQ(guest.read(100, 8).data, test::bytes_of(8, 0));
  EXPECT_LT(storage.contents()[0].size_bytes(), 8U << 20)
      << "failed attempts must not use up the file's room";
  storage.room_pages = ~std::uint64_t{0};
  EXPECT_EQ(guest.write(100, test::bytes_of(8, 2)), IoStatus::okay);
  EXPECT_EQ(guest.read(96, 16).data.at(4 * kSectorBytes), std::byte{2});
  EXPECT_TRUE(image->finish());
}

}  // namespace
}  // namespace xenblk::vhd
