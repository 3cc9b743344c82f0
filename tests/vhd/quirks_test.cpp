// What other programs write that is unusual and legal, by the numbers of the list of quirks. Not
// here: 9 and 10 (open_vhd_test.cpp), 11, 17 and 32 (the chain's tests), 14 (batmap_test.cpp), 15
// and 16 (parent_locator_test.cpp), 30 (host_file_test.cpp).
#include <gtest/gtest.h>

#include <cstring>

#include "tests/vhd/forgery.h"
#include "vhd/image_spec.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

class Quirk : public ::testing::Test {
 protected:
  std::vector<Warning> warnings() {
    test::SimFile file(forgery_.disk, Access::read_only);
    return read_vhd_layout(file, read_footers(file).value()).value().warnings;
  }
  std::string only_warning() {
    const auto all = warnings();
    return all.size() == 1 ? all[0].text : all.empty() ? "none" : "several, first " + all[0].text;
  }
  std::uint64_t sectors() { return forgery_.open().value()->info().capacity.n; }
  void creator(const char* name, std::uint32_t version) {
    std::memcpy(forgery_.footer.creator.data(), name, 4);
    forgery_.footer.creator_version = version;
    forgery_.write_all();
  }
  void expect_opens(Access access) {
    const auto error = forgery_.error(access);
    EXPECT_EQ(error, Error{}) << error.text;
  }
  // The image becomes a fixed disk of 1 MiB, with `more` bytes before its footer.
  void make_fixed(std::uint64_t more = 0) {
    forgery_.write(0, test::Bytes(512));
    forgery_.cut(kMiB + more);
    forgery_.footer.type = DiskType::fixed;
    forgery_.footer.data_offset = kNoOffset;
    forgery_.footer.current_bytes = kMiB;
    forgery_.end = kMiB + more;
    forgery_.write_end();
  }
  Forgery forgery_;
};

TEST_F(Quirk, Row01TheCopyDecidesAndTheEndMayOnlyChangeTheSize) {
  auto forged = forgery_.footer;
  forged.current_bytes = 4 * kMiB;
  forgery_.write(forgery_.end, write_footer(forged));
  EXPECT_EQ(sectors(), 4 * kMiB / 512);
  forged.data_offset = 1024;
  forgery_.write(forgery_.end, write_footer(forged));
  EXPECT_EQ(sectors(), 8 * kMiB / 512);
  EXPECT_EQ(only_warning(), "footer at 0x201200 is of another image; ignored");
}
TEST_F(Quirk, Row01WithoutACopyOnlyAFixedDiskOfTheFilesSizeIsBelieved) {
  make_fixed();
  EXPECT_EQ(sectors(), kMiB / 512);
  forgery_.footer.current_bytes = kMiB + 512;
  forgery_.write_end();
  EXPECT_EQ(forgery_.error().text,
            "footer at 0x100000: a fixed disk of 1049088 bytes, but the file has 1048576 bytes "
            "before it");
}
TEST_F(Quirk, Row01AGuestThatWritesAFooterIntoItsFixedDiskIsNotFollowed) {
  make_fixed(4096);
  auto forged = forgery_.footer;
  forged.type = DiskType::differencing;
  forged.data_offset = 512;
  forgery_.write(0, write_footer(forged));
  EXPECT_EQ(forgery_.error().text,
            "ambiguous: the footer at 0x101000 is of a fixed disk, the one at 0x0 of a dynamic "
            "disk");
}
TEST_F(Quirk, Row02TheSizeAtTheEndCountsOnlyIfTheTableCoversIt) {
  forgery_.footer.current_bytes = 10 * kMiB;
  forgery_.write_end();
  EXPECT_EQ(forgery_.error().text,
            "header: 4 BAT entries of 2097152 bytes are too few for a size of 10485760");
}
TEST_F(Quirk, Row03TheFooterNeedNotFollowTheLastBlock) {
  forgery_.end = round_up(forgery_.end, 4096);
  forgery_.write_end();
  expect_opens(Access::read_only);
  expect_opens(Access::read_write);
  EXPECT_EQ(only_warning(), "none");
}
TEST_F(Quirk, Row04WhatIsCutOffTheLastBlockReadsAsZeroes) {
  forgery_.write(4096 + 512, test::Bytes(512, std::byte{7}));
  forgery_.cut(kMiB);
  auto image = std::move(forgery_.open().value());
  test::SimEngine engine(forgery_.disk);
  test::BlockingDisk guest(*image, engine);
  EXPECT_EQ(guest.read(0, 1).data, test::bytes_of(1, 7));
  EXPECT_EQ(guest.read(4000, 8).data, test::bytes_of(8, 0));
}
TEST_F(Quirk, Row05AFixedDiskMayHaveAFooterOf511Bytes) {
  make_fixed();
  forgery_.cut(kMiB + 511);
  EXPECT_EQ(sectors(), kMiB / 512);
}
TEST_F(Quirk, Row06NoOffsetMayBeOf32Or64Bits) {
  forgery_.header.data_offset = 0xffffffff;
  forgery_.write_header();
  expect_opens(Access::read_write);
  make_fixed();
  forgery_.footer.data_offset = 0xffffffff;
  forgery_.write_end();
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row07TheGuestSeesTheGeometryOfVirtualPcAndQemu) {
  forgery_.footer.geometry = {100, 4, 17};
  creator("vpc ", 0x00010000);
  EXPECT_EQ(sectors(), 6800U);
  creator("qemu", 0x00050003);
  EXPECT_EQ(sectors(), 6800U);
  for (const auto* name : {"tap\0", "win ", "d2v\0", "vs  ", "vbox", "wa\0\0", "CTXS", "qem2"}) {
    creator(name, 0x00010002);
    EXPECT_EQ(sectors(), 16384U) << name;
  }
}
TEST_F(Quirk, Row07ASizeThatIsNoMultipleOf512IsRoundedDown) {
  forgery_.footer.current_bytes = 8 * kMiB - 100;
  forgery_.write_all();
  EXPECT_EQ(sectors(), 8 * kMiB / 512 - 1);
  EXPECT_EQ(only_warning(), "footer: size 8388508 is no multiple of 512; rounded down");
}
TEST_F(Quirk, Row08EntriesBeyondTheDiskAreNotLookedAt) {
  forgery_.header.entries_max = 128;
  forgery_.write_header();
  for (std::uint32_t block = 4; block < 128; ++block) forgery_.set_entry(block, 0xdead0000 + block);
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row12AnEntryIsTheSectorOfTheBitmap) {
  EXPECT_EQ(BlockShape{2U << 20}.data_offset(8), 9U * 512);
  forgery_.set_entry(1, 8 + 4096);
  forgery_.end += 2 * kMiB;
  forgery_.write_end();
  EXPECT_EQ(forgery_.error().text, "BAT entries 0x8 and 0x1008: their blocks overlap");
  forgery_.set_entry(1, 8 + 4097);
  forgery_.end += 512;
  forgery_.write_end();
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row13NewBlocksLieBehindAllMetadata) {
  forgery_.set_entry(0, kUnusedBlock);
  creator("tap\0", 0x00010003);
  test::Bytes batmap(512);
  std::memcpy(batmap.data(), "tdbatmap", 8);
  store_big_endian<std::uint64_t>(batmap, 8, 0x2000);
  store_big_endian<std::uint32_t>(batmap, 16, 1);
  store_big_endian<std::uint32_t>(batmap, 20, 0x00010002);
  store_big_endian<std::uint32_t>(batmap, 24, 0xffffffff);
  forgery_.write(0x800, batmap);
  auto image = std::move(forgery_.open(Access::read_write).value());
  test::SimEngine engine(forgery_.disk);
  EXPECT_EQ(test::BlockingDisk(*image, engine).write(0, test::bytes_of(1, 1)), IoStatus::okay);
  EXPECT_TRUE(image->finish());
  const auto layout = read_vhd_layout(forgery_.file, read_footers(forgery_.file).value()).value();
  EXPECT_GE(layout.entries[0] * 512U, 0x2200U);
  EXPECT_TRUE(layout.batmap->is_full(0));
}
TEST_F(Quirk, Row18ANullIdIsServedWithAWarning) {
  forgery_.footer.uuid = {};
  forgery_.write_all();
  expect_opens(Access::read_only);
  EXPECT_EQ(only_warning(), "footer: the unique id is 0");
}
TEST_F(Quirk, Row19OldBlktapDidNotCountTheHiddenByte) {
  const auto hide = [&] {
    auto bytes = write_footer(forgery_.footer);
    bytes[85] = std::byte{1};
    forgery_.write(0, bytes);
    forgery_.write(forgery_.end, bytes);
  };
  creator("tap\0", 0x00010001);
  hide();
  expect_opens(Access::read_only);
  creator("tap\0", 0x00010002);
  hide();
  EXPECT_EQ(forgery_.error().code, Errc::bad_image);
}
TEST_F(Quirk, Row19TheFirstBlktapIsRefused) {
  creator("tap\0", 0x00000001);
  EXPECT_EQ(forgery_.error(), (Error{Errc::unsupported_image, 0,
                                     "footer: made by blktap 0.1, whose bitmaps are different"}));
}
TEST_F(Quirk, Row21ASavedStateIsServedWithAWarning) {
  forgery_.footer.saved_state = true;
  forgery_.write_all();
  expect_opens(Access::read_write);
  EXPECT_EQ(only_warning(),
            "footer: saved state is 1: a virtual machine was suspended; its size must not change");
}
TEST_F(Quirk, Row22ANewerBlktapIsServedWithAWarning) {
  creator("tap\0", 0x00010004);
  expect_opens(Access::read_write);
  const auto all = warnings();
  EXPECT_EQ(all.at(0).text, "footer: made by blktap 1.4, newer than 1.3");
}
TEST_F(Quirk, Row23OddFeaturesAndGeometriesAreServed) {
  forgery_.footer.features = 0;
  forgery_.footer.geometry = {1, 1, 1};
  forgery_.footer.created.seconds = 0xffffffff;
  forgery_.write_all();
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row24AFurtherHeaderIsServedReadOnly) {
  forgery_.header.data_offset = 0x800;
  forgery_.write_header();
  expect_opens(Access::read_only);
  EXPECT_EQ(
      forgery_.error(Access::read_write),
      (Error{Errc::unsupported_image, 0, "header: a further header at 0x800 is served read-only"}));
}
TEST_F(Quirk, Row25ThePaddingOfTheTableMeansNothing) {
  for (std::uint32_t block = 4; block < 128; ++block) forgery_.set_entry(block, 0);
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row26BlocksMayLieInAnyOrderWithGaps) {
  forgery_.set_entry(3, 8);
  forgery_.set_entry(0, 8 + 3 * 4097);
  forgery_.end = (8 + 5 * 4097) * 512;
  forgery_.write_end();
  expect_opens(Access::read_write);
}
TEST_F(Quirk, Row29AForcedSizeHasTheLargestGeometry) {
  forgery_.footer.geometry = kGeometryMax;
  creator("qem2", 0x00050003);
  EXPECT_EQ(sectors(), 16384U);
}
TEST(SplitImage, Row31IsRefusedByTheNamesOfItsParts) {
  for (const auto* path : {"vhd:/a.v01", "vhd:/a.v63", "vhd:/a.V10"}) {
    EXPECT_EQ(
        parse_image_spec(path).error(),
        (Error{Errc::bad_spec, 0,
               "image '" + std::string(path) + "': a part of a split image, which is not served"}));
  }
  for (const auto* path : {"vhd:/a.vhd", "vhd:/a.avhd", "vhd:/a.vud", "raw:/a.v01", "vhd:/v01"}) {
    EXPECT_TRUE(parse_image_spec(path)) << path;
  }
}

TEST(TruncatedImage, OfWhichOnlyTheFooterIsMissingIsServedEvenIfItIsEmpty) {
  test::SimDisk disk(1);
  test::SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {100}}));
  ASSERT_TRUE(file.truncate(2048));
  for (const auto access : {Access::read_only, Access::read_write}) {
    auto image = open_vhd_image(std::make_unique<test::SimFile>(disk, access), 512);
    EXPECT_TRUE(image) << image.error().text;
  }
}

// Salvage: what can be read of an image whose checksums are wrong.
TEST_F(Quirk, WrongChecksumsCanBeIgnoredToReadAnImage) {
  auto footer = write_footer(forgery_.footer);
  footer[67] ^= std::byte{1};
  forgery_.write(0, footer);
  forgery_.write(forgery_.end, footer);
  auto header = write_dynamic_header(forgery_.header);
  header[39] ^= std::byte{1};
  forgery_.write(512, header);
  EXPECT_EQ(forgery_.error().code, Errc::bad_image);
  test::SimFile reader(forgery_.disk, Access::read_only);
  auto footers = read_footers(reader, ChecksumRule::ignore);
  ASSERT_TRUE(footers) << footers.error().text;
  EXPECT_TRUE(read_vhd_layout(reader, *footers));
  EXPECT_EQ(
      read_vhd_layout(forgery_.file, *footers).error(),
      (Error{Errc::unsupported_image, 0, "an image whose checksums are ignored is read-only"}));
}

}  // namespace
}  // namespace xenblk::vhd
