// Images that are wrong: each is refused for its own reason, or served as far as that is safe.
#include "vhd/open_vhd.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"

namespace xenblk::vhd {
namespace {

using test::SimDisk;
using test::SimFile;

constexpr std::uint64_t kMiB = 1U << 20;
constexpr std::uint64_t kTable = 1536;

// An image of 8 MiB in four blocks of 2 MiB; the first one is allocated at 0x1000.
class Forgery {
 public:
  Forgery() : disk(7), file(disk, Access::read_write) {
    EXPECT_TRUE(create_vhd(file, {.capacity = {8 * kMiB / 512}, .uuid = Uuid{std::byte{1}}}));
    footer = read_footer(0);
    DynamicHeaderBytes bytes;
    EXPECT_TRUE(file.read_at(512, bytes));
    header = parse_dynamic_header(bytes).value();
    set_entry(0, 8);
    write(4096, test::Bytes(512, std::byte{0xff}));
    end = 4096 + 512 + 2 * kMiB;
    write_all();
  }

  Footer read_footer(std::uint64_t offset) {
    FooterBytes bytes;
    EXPECT_TRUE(file.read_at(offset, bytes));
    return parse_footer(bytes).value();
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    EXPECT_TRUE(file.write_at(offset, bytes));
  }
  void write_copy() { write(0, write_footer(footer)); }
  void write_end() { write(end, write_footer(footer)); }
  void write_header() { write(512, write_dynamic_header(header)); }
  void write_all() {
    write_copy();
    write_header();
    write_end();
  }
  void set_entry(std::uint32_t block, std::uint32_t entry) {
    test::Bytes sector(512);
    EXPECT_TRUE(file.read_at(kTable, sector));
    store_big_endian<std::uint32_t>(sector, block * 4, entry);
    write(kTable, sector);
  }
  void cut(std::uint64_t bytes) { EXPECT_TRUE(file.truncate(bytes)); }

  Expected<std::unique_ptr<Image>> open(Access access = Access::read_only) {
    return open_vhd_image(std::make_unique<SimFile>(disk, access), 512);
  }
  Error error(Access access = Access::read_only) {
    const auto image = open(access);
    return image ? Error{} : image.error();
  }

  SimDisk disk;
  SimFile file;
  Footer footer;
  DynamicHeader header;
  std::uint64_t end = 0;
};

struct Fault {
  const char* name;
  std::function<void(Forgery&)> make;
  Errc code;
  std::string text;
};

// `change` on both footers, or on the header.
auto footer_fault(std::function<void(Footer&)> change) {
  return [change](Forgery& f) {
    change(f.footer);
    f.write_all();
  };
}
auto header_fault(std::function<void(DynamicHeader&)> change) {
  return [change](Forgery& f) {
    change(f.header);
    f.write_header();
  };
}
auto entry_fault(std::uint32_t block, std::uint32_t entry) {
  return [=](Forgery& f) { f.set_entry(block, entry); };
}

const std::vector<Fault>& faults() {
  using enum Errc;
  static const std::vector<Fault> all = {
      {"EmptyFile", [](Forgery& f) { f.cut(0); }, bad_image,
       "the file has 0 bytes, too few for a VHD"},
      {"OneSector", [](Forgery& f) { f.cut(512); }, bad_image,
       "the file has 512 bytes, too few for a VHD"},
      {"NoFooters",
       [](Forgery& f) {
         f.write(0, test::Bytes(512));
         f.cut(kMiB);
       },
       bad_image,
       "no valid VHD footer: at 0xffe00 the cookie is not 'conectix'; at 0x0 the cookie is not "
       "'conectix'"},
      {"OnlyTheCopyAndNoHeader", [](Forgery& f) { f.cut(1024); }, bad_image,
       "footer: the header's offset 0x200 is not a sector within the file"},
      {"PoisonAtTheStart",
       [](Forgery& f) {
         auto bytes = write_footer(f.footer);
         std::memcpy(bytes.data(), "v_poison", 8);
         f.write(0, bytes);
       },
       unsupported_image,
       "footer at 0x0: cookie is 'v_poison': a resize was interrupted (repair it with vhd-util "
       "revert)"},
      {"PoisonAtTheEnd",
       [](Forgery& f) {
         auto bytes = write_footer(f.footer);
         std::memcpy(bytes.data(), "v_poison", 8);
         f.write(f.end, bytes);
       },
       unsupported_image,
       "footer at 0x201200: cookie is 'v_poison': a resize was interrupted (repair it with "
       "vhd-util revert)"},
      {"AnUnknownType",
       [](Forgery& f) {
         f.footer.type = DiskType{5};
         f.write_all();
       },
       bad_image, "footer: disk type is 5, not 2, 3 or 4"},
      {"NoType",
       [](Forgery& f) {
         f.footer.type = DiskType{0};
         f.write_all();
       },
       bad_image, "footer: disk type is 0, not 2, 3 or 4"},
      {"ADifferencingImage",
       [](Forgery& f) {
         f.footer.type = DiskType::differencing;
         f.write_all();
       },
       unsupported_image, "a differencing image needs its parents"},
      {"AFixedFooterOnADynamicImage",
       [](Forgery& f) {
         f.footer.type = DiskType::fixed;
         f.footer.current_bytes = f.end;
         f.write_end();
       },
       bad_image,
       "ambiguous: the footer at 0x201200 is of a fixed disk of this size, the one at 0x0 of a "
       "dynamic disk"},
      {"AFixedFooterOfAnotherSize",
       [](Forgery& f) {
         f.footer.type = DiskType::fixed;
         f.write_all();
       },
       bad_image,
       "footer at 0x201200: a fixed disk of 8388608 bytes, but the file has 2101760 bytes before "
       "it"},
      {"HeaderAtZero", footer_fault([](Footer& f) { f.data_offset = 0; }), bad_image,
       "footer: the header's offset 0x0 is not a sector within the file"},
      {"HeaderUnaligned", footer_fault([](Footer& f) { f.data_offset = 513; }), bad_image,
       "footer: the header's offset 0x201 is not a sector within the file"},
      {"HeaderNowhere", footer_fault([](Footer& f) { f.data_offset = kNoOffset - 511; }), bad_image,
       "footer: the header's offset 0xfffffffffffffe00 is not a sector within the file"},
      {"HeaderOverTheEnd", footer_fault([](Footer& f) { f.data_offset = 4096 + 2 * kMiB; }),
       bad_image, "footer: the header's offset 0x201000 is not a sector within the file"},
      {"NoHeader", footer_fault([](Footer& f) { f.data_offset = 2048; }), bad_image,
       "header at 0x800: cookie is not 'cxsparse'"},
      {"HeaderChecksum",
       [](Forgery& f) {
         auto bytes = write_dynamic_header(f.header);
         bytes[800] = std::byte{1};
         f.write(512, bytes);
       },
       bad_image, "header at 0x200: checksum is 0xfffff473, not 0xfffff472"},
      {"HeaderVersion", header_fault([](DynamicHeader& h) { h.version = 0x20000; }),
       unsupported_image, "header at 0x200: version is 0x20000, not 0x10000"},
      {"BlockSize0", header_fault([](DynamicHeader& h) { h.block_bytes = 0; }), bad_image,
       "header: block size 0 is not a power of two from 512 to 256 MiB"},
      {"BlockSize256", header_fault([](DynamicHeader& h) { h.block_bytes = 256; }), bad_image,
       "header: block size 256 is not a power of two from 512 to 256 MiB"},
      {"BlockSizeOdd", header_fault([](DynamicHeader& h) { h.block_bytes = 3U << 20; }), bad_image,
       "header: block size 3145728 is not a power of two from 512 to 256 MiB"},
      {"BlockSize2GiB", header_fault([](DynamicHeader& h) { h.block_bytes = 2U << 30; }), bad_image,
       "header: block size 2147483648 is not a power of two from 512 to 256 MiB"},
      {"NoEntries", header_fault([](DynamicHeader& h) { h.entries_max = 0; }), bad_image,
       "header: 0 BAT entries of 2097152 bytes are too few for a size of 8388608"},
      {"TooFewEntries", header_fault([](DynamicHeader& h) { h.entries_max = 3; }), bad_image,
       "header: 3 BAT entries of 2097152 bytes are too few for a size of 8388608"},
      {"TooManyEntries", header_fault([](DynamicHeader& h) { h.entries_max = 0x40000000; }),
       bad_image, "header: 1073741824 BAT entries are too many"},
      {"MoreEntriesThanTheFileHas",
       header_fault([](DynamicHeader& h) { h.entries_max = 0x3fffffff; }), bad_image,
       "header: the BAT of 1073741823 entries at 0x600 is not within the file"},
      {"TableUnaligned", header_fault([](DynamicHeader& h) { h.table_offset = 1537; }), bad_image,
       "header: the BAT of 4 entries at 0x601 is not within the file"},
      {"TableAtZero", header_fault([](DynamicHeader& h) { h.table_offset = 0; }), bad_image,
       "header: the BAT at 0x0 overlaps metadata at 0x0"},
      {"TableInTheHeader", header_fault([](DynamicHeader& h) { h.table_offset = 1024; }), bad_image,
       "header: the BAT at 0x400 overlaps metadata at 0x200"},
      {"TableNowhere", header_fault([](DynamicHeader& h) { h.table_offset = kNoOffset - 511; }),
       bad_image, "header: the BAT of 4 entries at 0xfffffffffffffe00 is not within the file"},
      {"TableOverTheFooter", header_fault([](DynamicHeader& h) { h.table_offset = 0x201200; }),
       bad_image, "header: the BAT of 4 entries at 0x201200 is not within the file"},
      {"SizeZero", footer_fault([](Footer& f) { f.current_bytes = 0; }), bad_image,
       "footer: the disk's size is 0"},
      {"SizeBeyondTheFormat",
       footer_fault([](Footer& f) { f.current_bytes = (2040ULL << 30) + 512; }), bad_image,
       "footer: size 2190433321472 is more than the 2040 GiB of a dynamic disk"},
      {"SizeOfAllBits", footer_fault([](Footer& f) { f.current_bytes = ~0ULL; }), bad_image,
       "footer: size 18446744073709551615 is more than the 2040 GiB of a dynamic disk"},
      {"BlockOnTheFooterCopy", entry_fault(1, 0), bad_image,
       "BAT entry 1 is 0x0: the block at 0x0 overlaps metadata at 0x0"},
      {"BlockOnTheHeader", entry_fault(1, 1), bad_image,
       "BAT entry 1 is 0x1: the block at 0x200 overlaps metadata at 0x200"},
      {"BlockOnTheTable", entry_fault(1, 3), bad_image,
       "BAT entry 1 is 0x3: the block at 0x600 overlaps metadata at 0x600"},
      {"BlockNowhere", entry_fault(1, 0xfffffffe), bad_image,
       "BAT entry 1 is 0xfffffffe: the block at 0x1fffffffc00 ends beyond the file's data at "
       "0x201400"},
      {"BlockTwice", entry_fault(1, 8), bad_image, "BAT entries 0x8 and 0x8: their blocks overlap"},
      {"BlocksOverlap",
       [](Forgery& f) {
         f.set_entry(1, 9);
         f.end += 512;
         f.write_end();
       },
       bad_image, "BAT entries 0x8 and 0x9: their blocks overlap"},
  };
  return all;
}

class RefusedImage : public ::testing::TestWithParam<Fault> {};
INSTANTIATE_TEST_SUITE_P(Each, RefusedImage, ::testing::ValuesIn(faults()),
                         [](const auto& param) { return param.param.name; });

TEST_P(RefusedImage, ForItsOwnReason) {
  Forgery forgery;
  GetParam().make(forgery);
  EXPECT_EQ(forgery.error(), (Error{GetParam().code, 0, GetParam().text}));
  EXPECT_EQ(forgery.error(Access::read_write).code, GetParam().code);
}

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
    EXPECT_TRUE(layout->warnings.empty()) << layout->warnings.front();
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
