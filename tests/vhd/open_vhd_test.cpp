// Images that are wrong: each is refused for its own reason, or served as far as that is safe.
#include "vhd/open_vhd.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/vhd/forgery.h"

namespace xenblk::vhd {
namespace {

using test::SimDisk;
using test::SimFile;

class DamagedImage : public ::testing::Test {
 protected:
  void expect_served(Access access) {
    auto image = forgery_.open(access);
    ASSERT_TRUE(image) << image.error().text;
    test::SimEngine engine(forgery_.disk);
    test::BlockingDisk guest(**image, engine);
    EXPECT_EQ((*image)->info().capacity.n, 8 * kMiB / 512);
    EXPECT_EQ(guest.read(0, 8).data, test::bytes_of(8, 0));
    if (access == Access::read_only) return;
    EXPECT_EQ(guest.write(2 * kMiB / 512 - 1, test::bytes_of(2, 5)), IoStatus::okay);
    EXPECT_EQ(guest.read(2 * kMiB / 512 - 1, 2).data, test::bytes_of(2, 5));
    EXPECT_TRUE((*image)->finish());
  }
  // Both footers are there, alike, and nothing is left to complain of.
  void expect_sound() {
    auto footers = read_footers(forgery_.file);
    ASSERT_TRUE(footers);
    EXPECT_TRUE(footers->copy_valid);
    EXPECT_TRUE(footers->at_end);
    auto layout = read_vhd_layout(forgery_.file, *footers);
    ASSERT_TRUE(layout) << layout.error().text;
    EXPECT_TRUE(layout->warnings.empty()) << layout->warnings.front().text;
  }
  Forgery forgery_;
};

TEST_F(DamagedImage, IsSoundToBeginWith) {
  expect_served(Access::read_only);
  expect_served(Access::read_write);
  expect_sound();
}

TEST_F(DamagedImage, IsServedWithoutItsFooterAndGetsItBack) {
  forgery_.cut(forgery_.end);
  expect_served(Access::read_only);
  expect_served(Access::read_write);
  expect_sound();
}

TEST_F(DamagedImage, IsServedWithABrokenFooterAndGetsItBack) {
  forgery_.write(forgery_.end, test::Bytes(512, std::byte{0x55}));
  expect_served(Access::read_only);
  expect_served(Access::read_write);
  expect_sound();
}

TEST_F(DamagedImage, IsServedWithoutTheCopyAndGetsItBack) {
  forgery_.write(0, test::Bytes(512));
  expect_served(Access::read_only);
  expect_served(Access::read_write);
  expect_sound();
}

TEST_F(DamagedImage, DoesNotBelieveAFooterThatABlockCovers) {
  // The file ends with the block's data, and the guest has put a footer there.
  forgery_.cut(forgery_.end);
  auto forged = forgery_.footer;
  forged.type = DiskType::fixed;
  forged.current_bytes = forgery_.end - 512;
  forgery_.write(forgery_.end - 512, write_footer(forged));
  EXPECT_EQ(forgery_.error().text.substr(0, 10), "ambiguous:");
  forged.type = DiskType::dynamic;
  forged.current_bytes = 4 * kMiB;
  forgery_.write(forgery_.end - 512, write_footer(forged));
  expect_served(Access::read_only);
}

TEST_F(DamagedImage, IsOnlyReadWhenItsFootersDisagree) {
  forgery_.footer.uuid[0] = std::byte{99};
  forgery_.write_end();
  expect_served(Access::read_only);
  EXPECT_EQ(forgery_.error(Access::read_write),
            (Error{Errc::bad_image, 0, "the footers at 0x0 and 0x201200 are of different images"}));
}

TEST_F(DamagedImage, IsOnlyReadWhenItsLastBlockIsCut) {
  forgery_.cut(kMiB);
  expect_served(Access::read_only);
  EXPECT_EQ(forgery_.error(Access::read_write).text,
            "BAT entry 0 is 0x8: the block at 0x1000 ends beyond the file's data at 0xffe00; can "
            "be read, "
            "but needs repair before it is written");
}

TEST_F(DamagedImage, MayHaveAShortFooter) {
  forgery_.cut(forgery_.end + 511);
  expect_served(Access::read_only);
  expect_served(Access::read_write);
  expect_sound();
}

TEST_F(DamagedImage, MayHaveSmallBlocksButIsOnlyReadThen) {
  Forgery forgery;
  forgery.header.block_bytes = 2048;
  forgery.header.entries_max = 8 * kMiB / 2048;
  forgery.header.table_offset = 0x1000;
  forgery.write_header();
  forgery.write(0x1000, test::Bytes(forgery.header.entries_max * 4, std::byte{0xff}));
  EXPECT_TRUE(forgery.open());
  EXPECT_EQ(forgery.error(Access::read_write),
            (Error{Errc::unsupported_image, 0,
                   "header: block size 2048 is served read-only (writable from 4096)"}));
}

TEST_F(DamagedImage, ReadsZeroesUnderClearBitsBeforeAndAfterAWriteToTheBlock) {
  // Stale data in the whole block, and a bitmap that has sectors 8 to 15 only.
  forgery_.write(4096 + 512, test::Bytes(64 * 512, std::byte{0xee}));
  test::Bytes bitmap(512);
  bitmap[1] = std::byte{0xff};
  forgery_.write(4096, bitmap);
  const auto expect = [&](Image& image, unsigned at_20) {
    test::SimEngine engine(forgery_.disk);
    auto expected = test::bytes_of(32, 0);
    std::fill_n(expected.begin() + 8 * 512, 8 * 512, std::byte{0xee});
    std::fill_n(expected.begin() + 20 * 512, 512, static_cast<std::byte>(at_20));
    EXPECT_EQ(test::BlockingDisk(image, engine).read(0, 32).data, expected);
  };
  auto image = std::move(forgery_.open(Access::read_write).value());
  expect(*image, 0);
  test::SimEngine engine(forgery_.disk);
  EXPECT_EQ(test::BlockingDisk(*image, engine).write(20, test::bytes_of(1, 3)), IoStatus::okay);
  expect(*image, 3);
  EXPECT_TRUE(image->finish());
  expect(**forgery_.open(Access::read_only), 3);
}

TEST_F(DamagedImage, KeepsTheBatmapOfBlktap) {
  Forgery forgery;
  forgery.footer.creator = {'t', 'a', 'p', '\0'};
  forgery.footer.creator_version = 0x00010003;
  forgery.write_all();
  test::Bytes batmap(512);
  std::memcpy(batmap.data(), "tdbatmap", 8);
  store_big_endian<std::uint64_t>(batmap, 8, 0xa00);
  store_big_endian<std::uint32_t>(batmap, 16, 2);
  store_big_endian<std::uint32_t>(batmap, 20, 0x00010002);
  forgery.write(0x800, batmap);
  forgery.set_entry(1, 4);
  EXPECT_EQ(forgery.error().text,
            "BAT entry 1 is 0x4: the block at 0x800 overlaps metadata at 0x800");
  forgery.set_entry(1, 6);
  EXPECT_EQ(forgery.error().text,
            "BAT entry 1 is 0x6: the block at 0xc00 overlaps metadata at 0xa00");
}

TEST(CreateVhd, RefusesSizesThatDoNotFitTheFormat) {
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  EXPECT_EQ(create_vhd(file, {}).error(), (Error{Errc::bad_spec, 0, "a disk of no size"}));
  EXPECT_EQ(create_vhd(file, {.capacity = {1}, .block_bytes = 3000}).error().text,
            "block size 3000 is not a power of two from 4 KiB to 256 MiB");
  EXPECT_EQ(create_vhd(file, {.capacity = {(2040ULL << 21) + 1}}).error().code, Errc::bad_spec);
}

TEST(CreateVhd, RefusesMoreBlocksThanAreServed) {
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  const auto create = [&](std::uint64_t sectors) {
    const auto made = create_vhd(file, {.capacity = {sectors}, .block_bytes = 4096});
    return made ? Error{} : made.error();
  };
  EXPECT_EQ(create((8ULL << 24) + 1),
            (Error{Errc::bad_spec, 0,
                   "a disk of 134217729 sectors has more than 16777216 blocks of 4096 bytes"}));
  EXPECT_EQ(create(8ULL << 24), Error{});
  const auto image = open_vhd_image(std::make_unique<SimFile>(disk, Access::read_only), 512);
  EXPECT_TRUE(image) << image.error().text;
}

TEST(CreateVhd, MakesAFixedImageOfTheExactSize) {
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {2049}, .type = DiskType::fixed}));
  auto image = open_vhd_image(std::make_unique<SimFile>(disk, Access::read_write), 512);
  ASSERT_TRUE(image) << image.error().text;
  EXPECT_EQ((*image)->info().format, "vhd fixed");
  EXPECT_EQ((*image)->info().capacity.n, 2049U);
  test::SimEngine engine(disk);
  test::BlockingDisk guest(**image, engine);
  EXPECT_EQ(guest.write(2048, test::bytes_of(1, 4)), IoStatus::okay);
  EXPECT_EQ(guest.read(2048, 1).data, test::bytes_of(1, 4));
  EXPECT_EQ(guest.write(2048, test::bytes_of(2, 4)), IoStatus::out_of_range);
}

}  // namespace
}  // namespace xenblk::vhd
