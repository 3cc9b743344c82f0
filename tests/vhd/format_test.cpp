// The bytes of the format, against values that other programs and the specification give.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/vhd/blocking_disk.h"
#include "vhd/bitmap_cache.h"
#include "vhd/format/block_table.h"
#include "vhd/format/checksum.h"
#include "vhd/format/dynamic_header.h"
#include "vhd/format/footer.h"

namespace xenblk::vhd {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

Footer example_footer() {
  Footer footer;
  footer.data_offset = 512;
  footer.created = vhd_time(946684800 + 0x01020304);
  footer.creator = {'w', 'i', 'n', ' '};
  footer.creator_version = 0x000a0000;
  footer.creator_host = 0x5769326b;
  footer.original_bytes = 10U << 20;
  footer.current_bytes = 10U << 20;
  footer.geometry = {301, 4, 17};
  footer.type = DiskType::dynamic;
  for (std::size_t i = 0; i < 16; ++i) footer.uuid[i] = static_cast<std::byte>(i + 1);
  return footer;
}

TEST(Footer, IsWrittenByteForByte) {
  const auto bytes = write_footer(example_footer());
  EXPECT_EQ(hex(std::span(bytes).first(88)),
            "636f6e6563746978"  // conectix
            "00000002"
            "00010000"          // features, version
            "0000000000000200"  // data offset
            "01020304"          // created
            "77696e20"
            "000a0000"  // "win ", 10.0
            "5769326b"  // "Wi2k"
            "0000000000a00000"
            "0000000000a00000"
            "012d0411"  // 301/4/17
            "00000003"
            "fffff7b0"  // checksum
            "0102030405060708090a0b0c0d0e0f10"
            "00"
            "00"
            "0000");
}

TEST(Footer, IsReadAsItWasWritten) {
  EXPECT_EQ(parse_footer(write_footer(example_footer())), example_footer());
}
TEST(Footer, RefusesAWrongCookie) {
  auto bytes = write_footer(example_footer());
  bytes[0] = std::byte{'C'};
  EXPECT_EQ(parse_footer(bytes).error(), (Error{Errc::bad_image, 0, "cookie is not 'conectix'"}));
}
TEST(Footer, RefusesEveryFlippedBit) {
  for (std::size_t i = 0; i < kFooterBytes; ++i) {
    auto bytes = write_footer(example_footer());
    bytes[i] ^= std::byte{1};
    EXPECT_FALSE(parse_footer(bytes)) << i;
  }
}
TEST(Footer, NamesTheToolForAnInterruptedResize) {
  auto bytes = write_footer(example_footer());
  std::memcpy(bytes.data(), "v_poison", 8);
  EXPECT_EQ(
      parse_footer(bytes).error(),
      (Error{Errc::unsupported_image, 0,
             "cookie is 'v_poison': a resize was interrupted (repair it with vhd-util revert)"}));
}
TEST(Footer, RefusesAnotherVersion) {
  auto footer = example_footer();
  footer.version = 0x00020000;
  EXPECT_EQ(parse_footer(write_footer(footer)).error(),
            (Error{Errc::unsupported_image, 0, "version is 0x20000, not 0x10000"}));
}

TEST(GuestSize, IsTheGeometryOnlyForVirtualPcAndOldQemu) {
  auto footer = example_footer();
  EXPECT_EQ(guest_bytes(footer), 10485760U);
  for (const auto* creator : {"vpc ", "qemu"}) {
    std::memcpy(footer.creator.data(), creator, 4);
    EXPECT_EQ(guest_bytes(footer), 10479616U) << creator;
  }
  for (const auto* creator :
       {"win ", "qem2", "d2v\0", "vbox", "tap\0", "CTXS", "wa\0\0", "vs  ", "xblk"}) {
    std::memcpy(footer.creator.data(), creator, 4);
    EXPECT_EQ(guest_bytes(footer), 10485760U) << creator;
  }
}
TEST(GuestSize, IsNeverTheLargestOrAnEmptyGeometry) {
  auto footer = example_footer();
  footer.creator = {'q', 'e', 'm', 'u'};
  footer.geometry = kGeometryMax;
  EXPECT_EQ(guest_bytes(footer), 10485760U);
  footer.geometry = {};
  EXPECT_EQ(guest_bytes(footer), 10485760U);
}

TEST(Geometry, IsWhatTheSpecificationComputes) {
  const auto of_bytes = [](std::uint64_t bytes) { return geometry_of({bytes / 512}); };
  EXPECT_EQ(of_bytes(10U << 20), (Geometry{301, 4, 17}));
  EXPECT_EQ(of_bytes(10514432), (Geometry{302, 4, 17}));
  EXPECT_EQ(of_bytes(std::uint64_t{127} << 30), (Geometry{65278, 16, 255}));
  EXPECT_EQ(of_bytes(std::uint64_t{128} << 30), kGeometryMax);
  EXPECT_EQ(of_bytes(std::uint64_t{2040} << 30), kGeometryMax);
  EXPECT_EQ(sectors_of(of_bytes(std::uint64_t{4295467008})).n * 512, 4295467008U);
}

TEST(DynamicHeader, IsReadAsItWasWritten) {
  DynamicHeader header;
  header.table_offset = 1536;
  header.entries_max = 5;
  header.block_bytes = 2U << 20;
  header.locators[7] = {
      .code = 0x57327275, .data_space = 512, .data_length = 20, .data_offset = 4096};
  header.parent_name[511] = std::byte{9};
  const auto bytes = write_dynamic_header(header);
  EXPECT_EQ(parse_dynamic_header(bytes), header);
  EXPECT_EQ(hex(std::span(bytes).first(40)),
            "6378737061727365"
            "ffffffffffffffff"
            "0000000000000600"
            "00010000"
            "00000005"
            "00200000"
            "fffff2d3");
}
TEST(DynamicHeader, RefusesAFlippedBit) {
  auto bytes = write_dynamic_header({});
  bytes[1023] ^= std::byte{1};
  EXPECT_EQ(parse_dynamic_header(bytes).error().code, Errc::bad_image);
}

TEST(BlockShape, HasABitForEverySectorInWholeSectors) {
  EXPECT_EQ(BlockShape{2U << 20}.bitmap_bytes(), 512U);
  EXPECT_EQ(BlockShape{4U << 20}.bitmap_bytes(), 1024U);
  EXPECT_EQ(BlockShape{16U << 20}.bitmap_bytes(), 4096U);
  EXPECT_EQ(BlockShape{512}.bitmap_bytes(), 512U);
  EXPECT_EQ(BlockShape{2U << 20}.range(3).end(), (3 + 4097U) * 512);
}

TEST(BitmapRun, BeginsWithTheHighestBit) {
  const std::array bits{std::byte{0x80}, std::byte{0xff}, std::byte{0xfe}, std::byte{0}};
  const auto run = [&](std::uint64_t sector, std::uint64_t most) {
    return bitmap_run(bits, sector, most);
  };
  EXPECT_TRUE(run(0, 32).present);
  EXPECT_EQ(run(0, 32).sectors, 1U);
  EXPECT_FALSE(run(1, 31).present);
  EXPECT_EQ(run(1, 31).sectors, 7U);
  EXPECT_EQ(run(8, 24).sectors, 15U);
  EXPECT_EQ(run(8, 5).sectors, 5U);
  EXPECT_EQ(run(23, 9).sectors, 9U);
}

TEST(BitmapCache, KeepsTheLastUsedOfBlocksThatShareAPlace) {
  BitmapCache cache(512, 4 * 512);
  const test::Bytes bits(512, std::byte{0xff});
  for (std::uint64_t block = 0; block < 4; ++block) cache.insert({block}, bits);
  EXPECT_TRUE(cache.run({0}, 0, 1));
  cache.insert({4}, bits);
  EXPECT_TRUE(cache.run({0}, 0, 1));
  EXPECT_FALSE(cache.run({1}, 0, 1));
}

}  // namespace
}  // namespace xenblk::vhd
