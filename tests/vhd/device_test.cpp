// Images with blocks on a block device: the footer stays at the end, and free space holds anything.
#include <gtest/gtest.h>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/image_work.h"

namespace xenblk::vhd {
namespace {

using test::BlockingDisk;
using test::bytes_of;
using test::ChainBuilder;
using test::CrashDisk;
using test::CrashEngine;
using test::CrashFile;

constexpr std::uint32_t kBlockBytes = 16384;
constexpr std::uint64_t kDeviceBytes = 4U << 20;

// The image in `file` becomes one on a device that was used before.
void move_to_device(File& file) {
  FooterBytes footer;
  const auto old_end = file.size_bytes().value() - kFooterBytes;
  ASSERT_TRUE(file.read_at(old_end, footer));
  const test::Bytes garbage(kDeviceBytes - kFooterBytes - old_end, std::byte{0xee});
  ASSERT_TRUE(file.write_at(old_end, garbage));
  ASSERT_TRUE(file.write_at(kDeviceBytes - kFooterBytes, footer));
  ASSERT_TRUE(file.sync_data());
}

test::Scene dynamic_scene() {
  return {.create =
              [](File& file) {
                ASSERT_TRUE(create_vhd(
                    file, {.capacity = {test::kCapacitySectors}, .block_bytes = kBlockBytes}));
                move_to_device(file);
              },
          .on_device = true,
          .frees = true};
}

test::Scene child_scene(ChainBuilder& chain) {
  chain.add_raw(3333);
  return {.create =
              [](File& file) {
                test::make_child(
                    file, {.capacity = {test::kCapacitySectors}, .block_bytes = kBlockBytes});
                move_to_device(file);
              },
          .parents = chain.levels(),
          .base = chain.content(test::kCapacitySectors),
          .on_device = true,
          .frees = true};
}

class DeviceTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Each, DeviceTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Child" : "Dynamic"; });

TEST_P(DeviceTest, LosesNothingThatWasPromised) {
  const auto base = test::base_seed();
  for (int i = 0; i < test::seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    const auto scene = GetParam() ? child_scene(chain) : dynamic_scene();
    const auto result = test::run_lives(scene, seed, 4, [](CrashDisk&) {});
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

TEST_P(DeviceTest, WritesZeroesWhereTheDeviceCannot) {
  const auto base = test::base_seed();
  for (int i = 0; i < test::seed_count(); ++i) {
    const auto seed = base + static_cast<std::uint64_t>(i);
    ChainBuilder chain(seed);
    auto scene = GetParam() ? child_scene(chain) : dynamic_scene();
    scene.frees = false;
    const auto result = test::run_lives(scene, seed, 3, [](CrashDisk& disk) {
      disk.fault = [](const IoOp& op) { return op.kind == IoKind::punch_hole ? EOPNOTSUPP : 0; };
    });
    ASSERT_EQ(result.wrong, "") << "XENBLK_TEST_SEED=" << seed;
  }
}

TEST(Device, HasNoRoomForMoreBlocksThanItHolds) {
  CrashDisk disk(1);
  CrashFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {20000}, .block_bytes = kBlockBytes}));
  move_to_device(file);
  disk.is_device = true;
  const auto image =
      open_vhd_image(std::make_unique<CrashFile>(disk, Access::read_write), 512).value();
  CrashEngine engine(disk);
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
  EXPECT_EQ(disk.content().size_bytes, kDeviceBytes);
}

}  // namespace
}  // namespace xenblk::vhd
