// Images with blocks on a block device: the footer stays at the end, and free space holds anything.
// What a power cut leaves of them is a scenario of power_cut_test.
#include <gtest/gtest.h>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"

namespace xenblk::vhd {
namespace {

using test::BlockingDisk;
using test::bytes_of;

TEST(Device, HasNoRoomForMoreBlocksThanItHolds) {
  constexpr std::uint64_t kDeviceBytes = 4U << 20;
  test::SimDisk disk(1);
  test::SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {20000}, .block_bytes = 16384}));
  FooterBytes footer;
  ASSERT_TRUE(file.read_at(0, footer));
  ASSERT_TRUE(file.write_at(kDeviceBytes - kFooterBytes, footer));
  disk.is_device = true;
  const auto image =
      open_vhd_image(std::make_unique<test::SimFile>(disk, Access::read_write), 512).value();
  test::SimEngine engine(disk);
  BlockingDisk guest(*image, engine);
  auto status = IoStatus::okay;
  std::uint64_t blocks = 0;
  for (; status == IoStatus::okay; ++blocks) status = guest.write(blocks * 32, bytes_of(1, 7));
  EXPECT_EQ(status, IoStatus::no_space);
  EXPECT_GT(blocks, 200U);
  EXPECT_EQ(guest.read((blocks - 2) * 32, 2).data.at(512), std::byte{0});
  EXPECT_EQ(guest.run(ImageOp::discard, {0}, {32}, nullptr), IoStatus::okay);
  EXPECT_EQ(guest.write(blocks * 32, bytes_of(1, 7)), IoStatus::okay) << "where one was given up";
  EXPECT_TRUE(image->finish());
  EXPECT_EQ(disk.content().size_bytes(), kDeviceBytes);
}

}  // namespace
}  // namespace xenblk::vhd
