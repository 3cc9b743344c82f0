// What images tell of where their sectors are.
#include <gtest/gtest.h>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/null_image.h"
#include "vhd/open_vhd.h"
#include "vhd/read_only_view.h"

namespace xenblk::vhd {
namespace {

constexpr auto kData = ImageExtent::Kind::data;
constexpr auto kZero = ImageExtent::Kind::zero;

class DynamicExtents : public ::testing::Test {
 protected:
  // 8 sectors a block, the last block is half a block.
  static constexpr SectorCount kCapacity{84};

  DynamicExtents() {
    test::SimFile file(disk_, Access::read_write);
    EXPECT_TRUE(create_vhd(file, {.capacity = kCapacity, .block_bytes = 4096}));
    open();
  }
  void open() {
    image_ = std::move(
        open_vhd_image(std::make_unique<test::SimFile>(disk_, Access::read_write), 512).value());
  }
  void write(std::uint64_t first) {
    test::BlockingDisk guest(*image_, engine_);
    EXPECT_EQ(guest.write(first, test::bytes_of(1, 7)), IoStatus::okay);
  }

  test::SimDisk disk_{1};
  test::SimEngine engine_{disk_};
  std::unique_ptr<Image> image_;
};

TEST_F(DynamicExtents, AnEmptyDiskIsOneZero) {
  EXPECT_EQ(image_->extent_at({0}), (ImageExtent{kZero, kCapacity}));
  EXPECT_EQ(image_->extent_at({83}), (ImageExtent{kZero, {1}}));
}

TEST_F(DynamicExtents, AWrittenBlockIsDataToItsEnd) {
  write(20);
  EXPECT_EQ(image_->extent_at({0}), (ImageExtent{kZero, {16}}));
  EXPECT_EQ(image_->extent_at({17}), (ImageExtent{kData, {7}}));
  EXPECT_EQ(image_->extent_at({24}), (ImageExtent{kZero, {60}}));
  write(80);
  EXPECT_EQ(image_->extent_at({80}), (ImageExtent{kData, {4}}));
}

TEST_F(DynamicExtents, TheBitmapOfAnotherWriterIsAsked) {
  write(20);
  ASSERT_TRUE(image_->finish());
  image_.reset();
  // The bitmap of the only block is the sector before its 8 data sectors, which the footer follows.
  const auto footer = disk_.content().size_bytes() / kSectorBytes - 1;
  test::SimFile file(disk_, Access::read_write);
  std::array<std::byte, kSectorBytes> bitmap = {std::byte{0x38}};
  ASSERT_TRUE(file.write_at((footer - 9) * kSectorBytes, bitmap));
  open();
  EXPECT_EQ(image_->extent_at({16}), (ImageExtent{kZero, {2}}));
  EXPECT_EQ(image_->extent_at({18}), (ImageExtent{kData, {3}}));
  EXPECT_EQ(image_->extent_at({21}), (ImageExtent{kZero, {3}}));
}

TEST(NullExtents, AreZero) {
  NullImage image({100}, Access::read_write);
  EXPECT_EQ(image.extent_at({40}), (ImageExtent{kZero, {60}}));
}

TEST(ViewExtents, AreTheImages) {
  ReadOnlyView view(std::make_shared<NullImage>(SectorCount{100}, Access::read_write));
  EXPECT_EQ(view.extent_at({40}), (ImageExtent{kZero, {60}}));
}

}  // namespace
}  // namespace xenblk::vhd
