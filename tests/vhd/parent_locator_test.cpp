// The names of parents: from the bytes that other programs write to paths, and back.
#include "vhd/format/parent_locator.h"

#include <gtest/gtest.h>

#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/format/utf16.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
Bytes utf16(std::string_view text, ByteOrder order = ByteOrder::little) {
  return utf16_from_utf8(text, order).value();
}
LocatorData relative(std::string_view path) {
  return {0, kLocatorRelative, utf16(path)};
}
LocatorData absolute(std::string_view path) {
  return {1, kLocatorAbsolute, utf16(path)};
}
LocatorData url(std::string_view path) {
  return {2, kLocatorUrl, bytes_of(path)};
}

DynamicHeader named(std::string_view name, ByteOrder order = ByteOrder::big) {
  DynamicHeader header;
  std::ranges::copy(utf16(name, order), header.parent_name.begin());
  return header;
}
std::string only_path(const LocatorData& locator) {
  const auto paths = parent_paths({}, std::span(&locator, 1));
  return paths.candidates.size() == 1 ? paths.candidates[0].path : "none";
}
std::string only_warning(const LocatorData& locator) {
  const auto paths = parent_paths({}, std::span(&locator, 1));
  EXPECT_TRUE(paths.candidates.empty());
  return paths.warnings.size() == 1 ? paths.warnings[0] : "none";
}

TEST(Utf16, BecomesUtf8AndBack) {
  constexpr std::string_view kText = "a\u00e9\u20ac\U0001f4be/x";
  for (const auto order : {ByteOrder::big, ByteOrder::little}) {
    EXPECT_EQ(utf8_from_utf16(utf16(kText, order), order), (Utf8Text{std::string(kText), false}));
  }
  EXPECT_EQ(utf16("\U0001f4be", ByteOrder::big), bytes_of("\xd8\x3d\xdc\xbe"));
}
TEST(Utf16, IsReadInTheOrderOfItsMark) {
  using namespace std::string_view_literals;
  EXPECT_EQ(utf8_from_utf16(bytes_of("\xff\xfe\x61\x00"sv), ByteOrder::big).text, "a");
  EXPECT_EQ(utf8_from_utf16(bytes_of("\xfe\xff\x00\x61"sv), ByteOrder::little).text, "a");
}
TEST(Utf16, EndsAtANul) {
  using namespace std::string_view_literals;
  EXPECT_EQ(utf8_from_utf16(bytes_of("\x00\x61\x00\x00\x00\x62"sv), ByteOrder::big),
            (Utf8Text{"a", false}));
}
TEST(Utf16, IsLossyWithHalfAPairOrHalfAUnit) {
  using namespace std::string_view_literals;
  constexpr auto kReplaced = "\ufffd";
  EXPECT_EQ(utf8_from_utf16(bytes_of("\xd8\x3d"sv), ByteOrder::big), (Utf8Text{kReplaced, true}));
  EXPECT_EQ(utf8_from_utf16(bytes_of("\xdc\x3d\x00\x61"sv), ByteOrder::big),
            (Utf8Text{"\ufffd\x61", true}));
  EXPECT_EQ(utf8_from_utf16(bytes_of("\xd8\x3d\x00\x61"sv), ByteOrder::big),
            (Utf8Text{"\ufffd\x61", true}));
  EXPECT_EQ(utf8_from_utf16(bytes_of("\x61"sv), ByteOrder::big), (Utf8Text{kReplaced, true}));
}
TEST(Utf16, IsNotMadeOfWhatIsNotUtf8) {
  for (const auto* text : {"\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
                           "\xe2\x82", "\xe0\x80\xaf"}) {
    EXPECT_FALSE(utf16_from_utf8(text, ByteOrder::big)) << text;
  }
}

TEST(ParentPaths, ComeInTheOrderInWhichTheyAreTried) {
  const std::array locators{url("file:///srv/u.vhd"), absolute("C:\\vm\\a.vhd"),
                            relative(".\\sub\\r.vhd")};
  EXPECT_EQ(parent_paths(named("n.vhd"), locators).candidates,
            (std::vector<ParentPath>{{"sub/r.vhd", PathOrigin::relative},
                                     {"n.vhd", PathOrigin::name},
                                     {"/srv/u.vhd", PathOrigin::url},
                                     {"a.vhd", PathOrigin::absolute}}));
}
TEST(ParentPaths, NameAFileOnce) {
  const std::array locators{url("file://./p.vhd"), absolute("p.vhd"), relative(".\\p.vhd")};
  EXPECT_EQ(parent_paths(named("p.vhd"), locators).candidates,
            (std::vector<ParentPath>{{"p.vhd", PathOrigin::relative}}));
}
TEST(ParentPaths, TakeOnlyTheFileOfAnAbsoluteName) {
  EXPECT_EQ(parent_paths(named("E:\\images\\p.vhd"), {}).candidates,
            (std::vector<ParentPath>{{"p.vhd", PathOrigin::name}}));
  EXPECT_EQ(only_path(absolute("\\\\server\\share\\p.vhd")), "p.vhd");
}
TEST(ParentPaths, ReadTheNameOfBlktap01WithItsMark) {
  EXPECT_EQ(parent_paths(named("\ufeffp.vhd", ByteOrder::little), {}).candidates,
            (std::vector<ParentPath>{{"p.vhd", PathOrigin::name}}));
}
TEST(ParentPaths, KeepWhatTheOpenerMustJudge) {
  EXPECT_EQ(only_path(relative("..\\..\\etc\\p.vhd")), "../../etc/p.vhd");
  EXPECT_EQ(only_path(relative("D:\\p.vhd")), "/p.vhd");
}
TEST(ParentPaths, ReadEveryKindOfFileUrl) {
  EXPECT_EQ(only_path(url("file://localhost/dir/a%20b%C3%A9.vhd")), "/dir/a b\u00e9.vhd");
  EXPECT_EQ(only_path(url("file:///dir/p.vhd")), "/dir/p.vhd");
  EXPECT_EQ(only_path(url("file://./p.vhd")), "p.vhd");
  EXPECT_EQ(only_path(url("file://../p.vhd")), "../p.vhd");
  EXPECT_EQ(only_path(url("file://./100%.vhd")), "100%.vhd");
  EXPECT_EQ(only_path(url("file://./a%zz%2.vhd")), "a%zz%2.vhd");
}
TEST(ParentPaths, EndAtANul) {
  using namespace std::string_view_literals;
  EXPECT_EQ(only_path(url("file://./p.vhd\0more"sv)), "p.vhd");
  EXPECT_EQ(only_path({0, kLocatorRelative, utf16(".\\p.vhd\0more"sv)}), "p.vhd");
}
TEST(ParentPaths, WarnOfLocatorsThatNameNoFile) {
  EXPECT_EQ(only_warning(url("http://host/p.vhd")), "parent locator 2: not a file URL; ignored");
  EXPECT_EQ(only_warning(url("file://host/p.vhd")),
            "parent locator 2: a URL of another host; ignored");
  EXPECT_EQ(only_warning(url("file:///a%00b")), "parent locator 2: a NUL within the path; ignored");
  for (const auto* folder : {"", "dir\\", "..", "..\\..", ".", ".\\"}) {
    EXPECT_EQ(only_warning(relative(folder)), "parent locator 0: names no file; ignored");
  }
  EXPECT_EQ(only_warning({5, kLocatorRelative, Bytes(3, std::byte{'a'})}),
            "parent locator 5: data length 3 is odd; ignored");
  EXPECT_EQ(only_warning({5, kLocatorAbsolute, Bytes{std::byte{0}, std::byte{0xd8}}}),
            "parent locator 5: half a surrogate pair in the path; ignored");
}
TEST(ParentPaths, KnowNothingOfOtherLocators) {
  const LocatorData alias{3, 0x4d616320, Bytes(3)};
  const auto paths = parent_paths({}, std::span(&alias, 1));
  EXPECT_TRUE(paths.candidates.empty() && paths.warnings.empty());
}

Expected<ByteRange> space_of(std::uint32_t space, std::uint32_t length,
                             std::uint64_t offset = 0x1000) {
  return locator_space(
      {.code = 1, .data_space = space, .data_length = length, .data_offset = offset}, 0x20000);
}
TEST(LocatorSpace, IsInSectorsWhenItIsSmallAndElseInBytes) {
  EXPECT_EQ(space_of(1, 20).value(), (ByteRange{0x1000, 512}));
  EXPECT_EQ(space_of(8, 20).value(), (ByteRange{0x1000, 4096}));
  EXPECT_EQ(space_of(512, 512).value(), (ByteRange{0x1000, 512}));
  EXPECT_EQ(space_of(65536, 20).value(), (ByteRange{0x1000, 65536}));
  EXPECT_EQ(space_of(0, 0).value(), (ByteRange{0x1000, 0}));
}
TEST(LocatorSpace, RefusesWhatDoesNotFit) {
  const auto text = [](const Expected<ByteRange>& space) { return space.error().text; };
  EXPECT_EQ(text(space_of(513, 1)),
            "data space 513 is neither sectors nor a multiple of 512 bytes");
  EXPECT_EQ(text(space_of(512, 513)), "data length 513 is more than its space of 512 bytes");
  EXPECT_EQ(text(space_of(131072, 65537, 0)), "data length 65537 is more than 65536");
  EXPECT_EQ(text(space_of(512, 1, 0x20000)), "512 bytes at 0x20000 are not within the file");
  EXPECT_EQ(text(space_of(512, 1, 0x1fe01)), "512 bytes at 0x1fe01 are not within the file");
  EXPECT_EQ(text(space_of(0xfffffe00, 1)), "4294966784 bytes at 0x1000 are not within the file");
  EXPECT_EQ(text(space_of(512, 1, ~0ULL - 511)),
            "512 bytes at 0xfffffffffffffe00 are not within the file");
}

TEST(EncodeParent, WritesWhatIsReadBack) {
  const auto encoded = encode_parent({"../base/p \u00e9.vhd", "/srv/base/p \u00e9.vhd"}).value();
  ASSERT_EQ(encoded.locators.size(), 3U);
  EXPECT_EQ(encoded.locators[0],
            (LocatorData{0, kLocatorRelative, utf16("..\\base\\p \u00e9.vhd")}));
  EXPECT_EQ(encoded.locators[1],
            (LocatorData{1, kLocatorAbsolute, utf16("C:\\srv\\base\\p \u00e9.vhd")}));
  EXPECT_EQ(encoded.locators[2],
            (LocatorData{2, kLocatorUrl, bytes_of("file://./../base/p%20%C3%A9.vhd")}));
  DynamicHeader header;
  header.parent_name = encoded.name;
  EXPECT_EQ(parent_paths(header, encoded.locators).candidates,
            (std::vector<ParentPath>{{"../base/p \u00e9.vhd", PathOrigin::relative},
                                     {"p \u00e9.vhd", PathOrigin::name}}));
}
TEST(EncodeParent, WritesAPathBesideTheChildAsWindowsDoes) {
  const auto encoded = encode_parent({"p.vhd", "/srv/p.vhd"}).value();
  EXPECT_EQ(encoded.locators[0].bytes, utf16(".\\p.vhd"));
  EXPECT_EQ(encoded.locators[2].bytes, bytes_of("file://./p.vhd"));
}
TEST(EncodeParent, RefusesWhatTheFormatCannotHold) {
  const auto error = [](const std::string& path) {
    return encode_parent({path, "/" + path}).error();
  };
  EXPECT_EQ(error("\xff.vhd"), (Error{Errc::bad_spec, 0,
                                      "the parent's path is not UTF-8, which "
                                      "the format needs"}));
  EXPECT_EQ(error(std::string(256, 'n')),
            (Error{Errc::bad_spec, 0, "the parent's path is too long for the format"}));
  EXPECT_EQ(error("d/"), (Error{Errc::bad_spec, 0, "the parent has no name"}));
  EXPECT_EQ(error("a\\b"),
            (Error{Errc::bad_spec, 0, "the parent's path has a NUL or a backslash in it"}));
  EXPECT_TRUE(encode_parent({std::string(255, 'n'), "/n"}));
}
TEST(EncodeParent, CountsSpaceInBytesOfWholeSectors) {
  EXPECT_EQ(locator_for(relative(std::string(300, 'x')), 0x2000),
            (ParentLocator{kLocatorRelative, 1024, 600, 0x2000}));
}

// A differencing image on a simulated disk whose first locator is as the test says.
class LayoutOfChild : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd(file_, {.capacity = {16384}, .uuid = Uuid{std::byte{1}}}));
    FooterBytes footer_bytes;
    ASSERT_TRUE(file_.read_at(0, footer_bytes));
    auto footer = parse_footer(footer_bytes).value();
    footer.type = DiskType::differencing;
    footer_bytes = write_footer(footer);
    ASSERT_TRUE(file_.write_at(0, footer_bytes));
    ASSERT_TRUE(file_.write_at(0x2000, footer_bytes));
    DynamicHeaderBytes bytes;
    ASSERT_TRUE(file_.read_at(512, bytes));
    header_ = parse_dynamic_header(bytes).value();
    Bytes path(512);
    std::ranges::copy(utf16(".\\p.vhd"), path.begin());
    ASSERT_TRUE(file_.write_at(0x1000, path));
    header_.locators[0] = {kLocatorRelative, 512, 14, 0x1000};
  }
  VhdLayout layout() {
    EXPECT_TRUE(file_.write_at(512, write_dynamic_header(header_)));
    return read_vhd_layout(file_, read_footers(file_).value()).value();
  }
  test::SimDisk disk_{1};
  test::SimFile file_{disk_, Access::read_write};
  DynamicHeader header_;
};

TEST_F(LayoutOfChild, HasTheParentsPathAndKeepsItsPlace) {
  const auto found = layout();
  EXPECT_EQ(found.parents.candidates, (std::vector<ParentPath>{{"p.vhd", PathOrigin::relative}}));
  EXPECT_EQ(found.metadata.back(), (ByteRange{0x1000, 512}));
  EXPECT_EQ(found.end_of_metadata, 0x1200U);
  EXPECT_TRUE(found.warnings.empty());
}
TEST_F(LayoutOfChild, LetsNoBlockOverlapALocator) {
  Bytes table(512, std::byte{0xff});
  store_big_endian<std::uint32_t>(table, 0, 8);
  ASSERT_TRUE(file_.write_at(1536, table));
  ASSERT_TRUE(file_.truncate(4U << 20));
  ASSERT_TRUE(file_.write_at(512, write_dynamic_header(header_)));
  EXPECT_EQ(read_vhd_layout(file_, read_footers(file_).value()).error().text,
            "BAT entry 0 is 0x8: the block at 0x1000 overlaps metadata at 0x1000");
}
TEST_F(LayoutOfChild, WarnsOfALocatorThatMakesNoSenseAndGoesOn) {
  header_.locators[1] = {kLocatorAbsolute, 512, 600, 0x1200};
  header_.locators[2] = {kLocatorUrl, 512, 14, 0x600};
  const auto found = layout();
  EXPECT_EQ(found.parents.candidates.size(), 1U);
  EXPECT_EQ(found.warnings,
            (std::vector<Warning>{
                {"locator_bad",
                 "parent locator 1: data length 600 is more than its space of 512 bytes; ignored"},
                {"locator_bad",
                 "parent locator 2: 512 bytes at 0x600 overlap metadata at 0x600; ignored"}}));
}

}  // namespace
}  // namespace xenblk::vhd
