// Discard and write of zeroes: what is read afterwards, and where the space goes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/sim_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/image_registry.h"

namespace xenblk::vhd {
namespace {

using test::BlockingDisk;
using test::bytes_of;
using test::ChainBuilder;
using test::SimDisk;
using test::SimEngine;
using test::SimFile;

constexpr std::uint32_t kBlockBytes = 16384;
constexpr std::uint64_t kBlockSectors = 32;
constexpr std::uint64_t kPagesOfBlock = kBlockBytes / 4096;  // the bitmap shares its page
constexpr std::uint64_t kSectors = 640;

class DiscardTest : public ::testing::Test {
 protected:
  void make_dynamic() {
    SimFile file(disk_, Access::read_write);
    ASSERT_TRUE(create_vhd(file, {.capacity = {kSectors}, .block_bytes = kBlockBytes}));
    open({});
  }
  void make_child_of(const Levels& parents) {
    SimFile file(disk_, Access::read_write);
    test::make_child(file, {.capacity = {kSectors}, .block_bytes = kBlockBytes});
    open(parents);
  }
  void open(const Levels& parents) {
    image_ = open_vhd_image(std::make_unique<SimFile>(disk_, Access::read_write), 512, {},
                            [&](const ParentReference&) { return parents; })
                 .value();
    guest_ = std::make_unique<BlockingDisk>(*image_, engine_);
  }
  IoStatus run(ImageOp op, std::uint64_t first, std::uint64_t count) {
    return guest_->run(op, {first}, {count}, nullptr);
  }
  std::uint64_t stored_pages() const { return disk_.content().data_pages(); }

  SimDisk disk_{1};
  SimEngine engine_{disk_};
  std::unique_ptr<Image> image_;
  std::unique_ptr<BlockingDisk> guest_;
};

TEST_F(DiscardTest, GivesWholeBlocksBackAndUsesTheirPlaceAgain) {
  make_dynamic();
  EXPECT_TRUE(image_->info().discard);
  EXPECT_EQ(guest_->write(0, bytes_of(4 * kBlockSectors, 1)), IoStatus::okay);
  const auto before = stored_pages();
  EXPECT_EQ(run(ImageOp::discard, kBlockSectors, 2 * kBlockSectors), IoStatus::okay);
  EXPECT_EQ(stored_pages(), before - 2 * kPagesOfBlock);
  EXPECT_EQ(guest_->read(kBlockSectors, 2 * kBlockSectors).data, bytes_of(2 * kBlockSectors, 0));
  EXPECT_EQ(image_->extent_at({kBlockSectors}).value(),
            (ImageExtent{ImageExtent::Kind::zero, {2 * kBlockSectors}}));
  const auto size = disk_.content().size_bytes();
  EXPECT_EQ(guest_->write(10 * kBlockSectors + 3, bytes_of(1, 5)), IoStatus::okay);
  EXPECT_EQ(guest_->write(11 * kBlockSectors + 3, bytes_of(1, 6)), IoStatus::okay);
  EXPECT_EQ(disk_.content().size_bytes(), size);
  EXPECT_EQ(stored_pages(), before - 2 * kPagesOfBlock + 2) << "nothing of the old blocks";
  EXPECT_EQ(guest_->read(10 * kBlockSectors, 4).data.at(2 * 512), std::byte{0});
  EXPECT_TRUE(image_->finish());
  // Four blocks are left, and the file ends behind them.
  EXPECT_LE(disk_.content().size_bytes(), 4096 + 4 * (kBlockBytes + 4096) + 512U);
}

TEST_F(DiscardTest, CutsTheFileWhenItsLastBlocksAreGone) {
  make_dynamic();
  EXPECT_EQ(guest_->write(0, bytes_of(8 * kBlockSectors, 1)), IoStatus::okay);
  EXPECT_EQ(run(ImageOp::discard, 0, kSectors), IoStatus::okay);
  EXPECT_TRUE(image_->finish());
  EXPECT_EQ(disk_.content().size_bytes(), 2048 + 512U);
}

TEST_F(DiscardTest, MakesHolesInPartsOfABlock) {
  make_dynamic();
  EXPECT_EQ(guest_->write(0, bytes_of(kBlockSectors, 1)), IoStatus::okay);
  const auto before = stored_pages();
  EXPECT_EQ(run(ImageOp::discard, 8, 10), IoStatus::okay);
  EXPECT_EQ(run(ImageOp::write_zeroes, 20, 4), IoStatus::okay);
  EXPECT_EQ(stored_pages(), before - 1) << "the only whole page";
  auto expected = bytes_of(kBlockSectors, 1);
  std::fill_n(expected.begin() + 8 * 512, 10 * 512, std::byte{0});
  std::fill_n(expected.begin() + 20 * 512, 4 * 512, std::byte{0});
  EXPECT_EQ(guest_->read(0, kBlockSectors).data, expected);
  EXPECT_TRUE(image_->finish());
}

TEST_F(DiscardTest, DoesNothingWhereNothingIs) {
  make_dynamic();
  int changes = 0;
  disk_.on_change = [&] { ++changes; };
  EXPECT_EQ(run(ImageOp::discard, 0, kSectors), IoStatus::okay);
  EXPECT_EQ(run(ImageOp::write_zeroes, 5, 100), IoStatus::okay);
  EXPECT_EQ(changes, 0);
  disk_.on_change = {};
  EXPECT_TRUE(image_->finish());
}

TEST_F(DiscardTest, CoversWhatTheParentsHold) {
  ChainBuilder chain(3);
  chain.add_raw(300);
  make_child_of(chain.levels());
  EXPECT_EQ(run(ImageOp::discard, 0, 100), IoStatus::okay);
  EXPECT_EQ(run(ImageOp::write_zeroes, 120, 50), IoStatus::okay);
  auto expected = chain.content(kSectors);
  std::fill_n(expected.begin(), 100 * 512, std::byte{0});
  std::fill_n(expected.begin() + 120 * 512, 50 * 512, std::byte{0});
  EXPECT_EQ(guest_->read(0, kSectors).data, expected);
  int changes = 0;
  disk_.on_change = [&] { ++changes; };
  EXPECT_EQ(run(ImageOp::discard, 320, 200), IoStatus::okay);
  EXPECT_EQ(changes, 0) << "beyond the parent's end there is nothing to cover";
  disk_.on_change = {};
  EXPECT_TRUE(image_->finish());
}

TEST_F(DiscardTest, WritesZeroesWhereAFileHasNoHoles) {
  make_dynamic();
  EXPECT_EQ(guest_->write(0, bytes_of(kBlockSectors, 1)), IoStatus::okay);
  disk_.fault = [](const IoOp& op) { return op.kind == IoKind::punch_hole ? EOPNOTSUPP : 0; };
  EXPECT_EQ(run(ImageOp::discard, 8, 10), IoStatus::unsupported);
  EXPECT_EQ(run(ImageOp::write_zeroes, 20, 4), IoStatus::okay);
  auto expected = bytes_of(kBlockSectors, 1);
  std::fill_n(expected.begin() + 20 * 512, 4 * 512, std::byte{0});
  EXPECT_EQ(guest_->read(0, kBlockSectors).data, expected);
  EXPECT_EQ(run(ImageOp::write_zeroes, 0, kBlockSectors), IoStatus::okay) << "a whole block goes";
  EXPECT_EQ(guest_->read(0, kBlockSectors).data, bytes_of(kBlockSectors, 0));
  EXPECT_EQ(guest_->write(64, bytes_of(1, 5)), IoStatus::okay);
  EXPECT_EQ(guest_->read(64, kBlockSectors).data.at(512), std::byte{0});
  EXPECT_TRUE(image_->finish());
}

TEST(DiscardOnAHost, GivesTheSpaceBackToTheFileSystem) {
  test::TempDir dir;
  const auto path = dir.path("a.vhd");
  const auto blocks = [&] {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_blocks;
  };
  ASSERT_TRUE(create_vhd_file(path, {.capacity = {32768}, .block_bytes = 2U << 20}));
  ImageRegistry registry;
  auto image = registry.open({Format::vhd, path, {}}, Access::read_write).value();
  test::FileEngine engine;
  BlockingDisk guest(*image, engine);
  EXPECT_EQ(guest.write(0, bytes_of(32768, 1)), IoStatus::okay);
  EXPECT_EQ(guest.flush(), IoStatus::okay);
  const auto full = blocks();
  EXPECT_EQ(guest.run(ImageOp::discard, {4096}, {3 * 4096}, nullptr), IoStatus::okay);
  EXPECT_LE(blocks(), full - 3 * 4096 + 3 * 8);
  EXPECT_EQ(guest.run(ImageOp::discard, {1024}, {2048}, nullptr), IoStatus::okay);
  EXPECT_LE(blocks(), full - 3 * 4096 + 3 * 8 - 2048 + 8);
  EXPECT_EQ(guest.read(0, 32768).data.at(20ULL << 18), std::byte{0});
  EXPECT_TRUE(registry.close(std::move(image)));
}

}  // namespace
}  // namespace xenblk::vhd
