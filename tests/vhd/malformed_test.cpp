// Images that contradict the format or themselves: each is refused for its own reason.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/vhd/forgery.h"

namespace xenblk::vhd {
namespace {

const std::vector<Fault>& faults() {
  using enum Errc;
  static const std::vector<Fault> all = {
      {"EmptyFile", [](Forgery& f) { f.cut(0); }, bad_image,
       "the file has 0 bytes, too few for a VHD"},
      {"OneSector", [](Forgery& f) { f.cut(512); }, bad_image,
       "the file has 512 bytes, too few for a VHD"},
      {"LessThanASector", [](Forgery& f) { f.cut(511); }, bad_image,
       "the file has 511 bytes, too few for a VHD"},
      {"LessThanTwoSectors", [](Forgery& f) { f.cut(1000); }, bad_image,
       "the file has 1000 bytes, too few for a VHD"},
      {"BothFootersWithWrongChecksums",
       [](Forgery& f) {
         auto bytes = write_footer(f.footer);
         bytes[67] = std::byte{0};
         f.write(0, bytes);
         f.write(f.end, bytes);
       },
       bad_image,
       "no valid VHD footer: at 0x201200 the checksum is 0xfffff500, not 0xfffff57c; at 0x0 the "
       "checksum is 0xfffff500, not 0xfffff57c"},
      {"FooterVersion", footer_fault([](Footer& f) { f.version = 0x20000; }), unsupported_image,
       "footer at 0x0: version is 0x20000, not 0x10000"},
      {"TypeReserved", footer_fault([](Footer& f) { f.type = DiskType{1}; }), bad_image,
       "footer: disk type is 1, not 2, 3 or 4"},
      {"TypeHuge", footer_fault([](Footer& f) { f.type = DiskType{0xffffffff}; }), bad_image,
       "footer: disk type is 4294967295, not 2, 3 or 4"},
      {"HeaderIsTheFooter", footer_fault([](Footer& f) { f.data_offset = 0x201200; }), bad_image,
       "footer: the header's offset 0x201200 is not a sector within the file"},
      {"BlockSize1", header_fault([](DynamicHeader& h) { h.block_bytes = 1; }), bad_image,
       "header: block size 1 is not a power of two from 512 to 256 MiB"},
      {"BlockSizeOfNoPower", header_fault([](DynamicHeader& h) { h.block_bytes = 0x12345678; }),
       bad_image, "header: block size 305419896 is not a power of two from 512 to 256 MiB"},
      {"EntriesOfAllBits", header_fault([](DynamicHeader& h) { h.entries_max = 0xffffffff; }),
       bad_image, "header: 4294967295 BAT entries are too many"},
      {"NoFooters",
       [](Forgery& f) {
         f.write(0, test::Bytes(512));
         f.cut(kMiB);
       },
       bad_image,
       "no valid VHD footer: at 0xffe00 the cookie is not 'conectix'; at 0x0 the cookie is not "
       "'conectix'"},
      {"OnlyAFixedFooterAndThatAtTheStart",
       [](Forgery& f) {
         f.footer.type = DiskType::fixed;
         f.write_copy();
         f.cut(kMiB);
       },
       bad_image,
       "no valid VHD footer: at 0xffe00 the cookie is not 'conectix'; at 0x0 one of disk type 2, "
       "which has no copy there"},
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
       "ambiguous: the footer at 0x201200 is of a fixed disk, the one at 0x0 of a dynamic disk"},
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
  EXPECT_EQ(forgery.error().text, GetParam().text);
  EXPECT_EQ(forgery.error().code, GetParam().code);
  EXPECT_EQ(forgery.error(Access::read_write).code, GetParam().code);
}

}  // namespace
}  // namespace xenblk::vhd
