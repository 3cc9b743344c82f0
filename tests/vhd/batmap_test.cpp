// blktap's batmap: believed when it is right, kept right while the image changes.
#include "vhd/format/batmap.h"

#include <gtest/gtest.h>

#include <cstring>

#include <fmt/format.h>

#include "tests/vhd/forgery.h"
#include "tests/vhd/memory_store.h"
#include "vhd/operations/repair.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

TEST(BatmapChecksum, AddsBytesAsItsVersionDoes) {
  const std::array bytes{std::byte{0xff}, std::byte{1}};
  EXPECT_EQ(batmap_checksum(bytes, 0x00010002), ~std::uint32_t{0x100});
  EXPECT_EQ(batmap_checksum(bytes, 0x00010001), ~std::uint32_t{0});
}
TEST(BatmapBytes, AreABitForEachBlockOf2MiBInSectors) {
  EXPECT_EQ(batmap_bytes(512), 512U);
  EXPECT_EQ(batmap_bytes(std::uint64_t{8} << 30), 512U);
  EXPECT_EQ(batmap_bytes(std::uint64_t{9} << 30), 1024U);
  EXPECT_EQ(batmap_bytes(kDynamicBytesMax), 130560U);
}

// blktap's layout: the header after the table, the map after the header. Block 0 is allocated.
class BatmapOfBlktap : public ::testing::Test {
 protected:
  void SetUp() override {
    forgery_.footer.creator = {'t', 'a', 'p', '\0'};
    forgery_.footer.creator_version = 0x00010003;
    forgery_.write_all();
    write_batmap(std::byte{0x80});
  }
  void write_batmap(std::byte first, std::uint32_t version = 0x00010002) {
    test::Bytes map(512);
    map[0] = first;
    std::memcpy(header_.data(), "tdbatmap", 8);
    store_big_endian<std::uint64_t>(header_, 8, 0xa00);
    store_big_endian<std::uint32_t>(header_, 16, 1);
    store_big_endian<std::uint32_t>(header_, 20, version);
    store_big_endian<std::uint32_t>(header_, 24, batmap_checksum(map, version));
    forgery_.write(0x800, header_);
    forgery_.write(0xa00, map);
  }
  template <class T>
  void set_field(std::size_t offset, T value) {
    store_big_endian<T>(header_, offset, value);
    forgery_.write(0x800, header_);
  }
  void clear_bitmap() { forgery_.write(4096, test::Bytes(512)); }
  VhdLayout layout() {
    return read_vhd_layout(forgery_.file, read_footers(forgery_.file).value()).value();
  }
  std::string only_warning() {
    const auto found = layout();
    EXPECT_TRUE(!found.batmap || found.batmap->bits.empty()) << "believed";
    return found.warnings.size() == 1 ? found.warnings[0].text : "none";
  }
  // What the file says now, and whether its checksum agrees.
  std::string bits_in_file() {
    const auto found = layout();
    if (!found.batmap || found.batmap->bits.empty()) return "not believed";
    return fmt::format("{:02x}", std::to_integer<unsigned>(found.batmap->bits[0]));
  }
  std::unique_ptr<Image> open(Access access) { return std::move(forgery_.open(access).value()); }

  Forgery forgery_;
  BatmapHeaderBytes header_ = {};
};

TEST_F(BatmapOfBlktap, SparesTheReadingOfBitmaps) {
  clear_bitmap();
  forgery_.write(4096 + 512, test::Bytes(512, std::byte{9}));
  auto image = open(Access::read_only);
  test::SimEngine engine(forgery_.disk);
  EXPECT_EQ(test::BlockingDisk(*image, engine).read(0, 1).data, test::bytes_of(1, 9));
}
TEST_F(BatmapOfBlktap, OfVersion11HasASignedChecksum) {
  write_batmap(std::byte{0x80}, 0x00010001);
  EXPECT_EQ(bits_in_file(), "80");
}
TEST_F(BatmapOfBlktap, IsNotBelievedWithAWrongChecksum) {
  set_field<std::uint32_t>(24, 1);
  EXPECT_EQ(only_warning(), "batmap: checksum is 0x1, not 0xffffff7f; ignored");
}
TEST_F(BatmapOfBlktap, IsNotBelievedWithABitForABlockThatIsNotThere) {
  write_batmap(std::byte{0xc0});
  EXPECT_EQ(only_warning(), "batmap: block 1 is marked as full, but is not allocated; ignored");
}
TEST_F(BatmapOfBlktap, IsNotBelievedWithAnotherCookieVersionOrPlace) {
  set_field<std::uint32_t>(20, 0x00020000);
  EXPECT_EQ(only_warning(), "batmap: version is 0x20000, not 0x10001 or 0x10002; ignored");
  write_batmap(std::byte{0x80});
  set_field<std::uint8_t>(0, 'x');
  EXPECT_EQ(only_warning(), "batmap: cookie is not 'tdbatmap'; ignored");
  write_batmap(std::byte{0x80});
  for (const std::uint64_t offset : {0x800ULL, 0xa01ULL, 0x201200ULL, ~0ULL - 511}) {
    set_field(8, offset);
    EXPECT_EQ(only_warning(),
              fmt::format("batmap: 512 bytes at {:#x} are not within the file; ignored", offset));
  }
  write_batmap(std::byte{0x80});
  set_field<std::uint32_t>(16, 0);
  EXPECT_EQ(only_warning(), "batmap: 0 bytes at 0xa00 are too few for 4 blocks; ignored");
  set_field<std::uint32_t>(16, 0xffffffff);
  EXPECT_EQ(only_warning(),
            "batmap: 2199023255040 bytes at 0xa00 are not within the file; ignored");
}
TEST_F(BatmapOfBlktap, RefusesAnEncryptedImage) {
  set_field<std::uint8_t>(29, 1);
  EXPECT_EQ(forgery_.error(),
            (Error{Errc::unsupported_image, 0, "batmap at 0x800: the image is encrypted"}));
}
TEST_F(BatmapOfBlktap, SaysNothingWhileTheImageIsOpenAndTheTruthAfterwards) {
  auto image = open(Access::read_write);
  EXPECT_EQ(bits_in_file(), "00");
  test::SimEngine engine(forgery_.disk);
  test::BlockingDisk guest(*image, engine);
  EXPECT_EQ(guest.write(2 * (2 * kMiB / 512), test::bytes_of(1, 3)), IoStatus::okay);
  EXPECT_EQ(bits_in_file(), "00");
  EXPECT_TRUE(image->finish());
  EXPECT_EQ(bits_in_file(), "a0");
}
TEST_F(BatmapOfBlktap, IsMadeRightAgainByOpeningForWriting) {
  set_field<std::uint32_t>(24, 1);
  auto image = open(Access::read_write);
  test::SimEngine engine(forgery_.disk);
  EXPECT_EQ(test::BlockingDisk(*image, engine).read(0, 1).status, IoStatus::okay);
  EXPECT_TRUE(image->finish());
  EXPECT_EQ(bits_in_file(), "80");
}
TEST_F(BatmapOfBlktap, DoesNotCallABlockFullWhoseBitmapIsNot) {
  clear_bitmap();
  write_batmap(std::byte{0});
  auto image = open(Access::read_write);
  test::SimEngine engine(forgery_.disk);
  EXPECT_EQ(test::BlockingDisk(*image, engine).read(0, 1).status, IoStatus::okay);
  EXPECT_TRUE(image->finish());
  EXPECT_EQ(bits_in_file(), "00");
}
TEST_F(BatmapOfBlktap, KeepsWhatElseItsHeaderSays) {
  set_field<std::uint8_t>(28, 0x77);
  set_field<std::uint8_t>(40, 0x66);
  auto image = open(Access::read_write);
  EXPECT_TRUE(image->finish());
  const auto bytes = layout().batmap->header_bytes;
  EXPECT_EQ(bytes[28], std::byte{0x77});
  EXPECT_EQ(bytes[40], std::byte{0x66});
}
TEST_F(BatmapOfBlktap, OfOtherBlockSizesIsNotBelieved) {
  forgery_.header.block_bytes = 4U << 20;
  forgery_.set_entry(0, kUnusedBlock);
  forgery_.write_header();
  EXPECT_EQ(only_warning(), "batmap: of blocks of 4194304 bytes, not 2 MiB; ignored");
}
TEST_F(BatmapOfBlktap, OfOtherBlockSizesIsNothingToRepair) {
  forgery_.header.block_bytes = 4U << 20;
  forgery_.set_entry(0, kUnusedBlock);
  forgery_.write_header();
  test::MemoryStore backup;
  EXPECT_EQ(repair_image(forgery_.file, backup).value().done, std::vector<std::string>{});
}

}  // namespace
}  // namespace xenblk::vhd
