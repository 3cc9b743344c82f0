// The pure parts of xenblk-img: sizes, names, the progress line, the words for a footer.
#include <gtest/gtest.h>

#include "tools/img/image_name.h"
#include "tools/img/progress.h"
#include "tools/img/sizes.h"
#include "tools/img/vhd_words.h"

namespace xenblk::img {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

TEST(SizesTest, AreBytesOrPowersOf1024) {
  EXPECT_EQ(parse_size("1000"), 1000U);
  EXPECT_EQ(parse_size("512B"), 512U);
  EXPECT_EQ(parse_size("3K"), 3U << 10);
  EXPECT_EQ(parse_size("20GiB"), std::uint64_t{20} << 30);
  EXPECT_EQ(parse_size("2T"), std::uint64_t{2} << 40);
  EXPECT_EQ(parse_size("16383P"), std::uint64_t{16383} << 50);
}

TEST(SizesTest, RefuseWhatIsNoNumberOfBytes) {
  for (const auto* text : {"", "G", "-1", "1.5G", "1GB", "1 G", "16384P", "18446744073709551616",
                           "1Gi", "1KK", "0x10"}) {
    EXPECT_EQ(parse_size(text).error().code, Errc::bad_spec) << text;
  }
}

TEST(SizesTest, AreShownShort) {
  EXPECT_EQ(short_size(0), "0 B");
  EXPECT_EQ(short_size(1023), "1023 B");
  EXPECT_EQ(short_size(2048), "2 KiB");
  EXPECT_EQ(short_size(1536U << 10), "1.5 MiB");
  EXPECT_EQ(short_size(std::uint64_t{2040} << 30), "2.0 TiB");
  EXPECT_EQ(short_size(~std::uint64_t{0}), "16384.0 PiB");
  EXPECT_EQ(describe_size(4096), "4 KiB (4096 bytes)");
}

TEST(ImageNameTest, RelativePathsAreMadeAbsolute) {
  const auto spec = parse_image_name("vhd:a/b.vhd", BarePath::refused);
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->path.starts_with('/') && spec->path.ends_with("/a/b.vhd")) << spec->path;
}

TEST(ImageNameTest, ABarePathIsAVhdOrNothing) {
  EXPECT_EQ(parse_image_name("/a", BarePath::vhd)->format, vhd::Format::vhd);
  EXPECT_EQ(parse_image_name("/a", BarePath::refused).error().code, Errc::refused);
  EXPECT_EQ(parse_image_name("raw:/a", BarePath::vhd).error(),
            (Error{Errc::refused, 0, "image 'raw:/a': only VHDs can be given here"}));
}

TEST(ImageNameTest, APathMayHaveColons) {
  EXPECT_EQ(parse_image_name("vhd:/a:b", BarePath::refused)->path, "/a:b");
  EXPECT_EQ(parse_image_name("/disk:raw:x", BarePath::vhd)->path, "/disk:raw:x");
}

TEST(ProgressLineTest, ShowsRateAndRest) {
  EXPECT_EQ(progress_line("copied", {250, 1000, 3U << 30}, 3 * kSecond, 60),
            "copied  25% [######                    ] 1 GiB/s, 00:09 left");
}

TEST(ProgressLineTest, SaysNothingOfTheRateAtTheStart) {
  EXPECT_EQ(progress_line("copied", {0, 1000, 0}, kSecond / 10, 30),
            "copied   0% [                ]");
}

TEST(ProgressLineTest, ShowsWhatWasMovedWhereTheEndIsNotKnown) {
  EXPECT_EQ(progress_line("copied", {250, 0, 3U << 30}, 3 * kSecond, 60), "copied 3 GiB 1 GiB/s");
}

TEST(ProgressLineTest, NeverIsWiderThanTheTerminal) {
  for (std::size_t columns = 0; columns < 100; ++columns) {
    EXPECT_LE(progress_line("copied", {1, 1000, 1U << 30}, kSecond, columns).size(), columns);
  }
}

TEST(ProgressLineTest, LongTimesAreShownAsHours) {
  const auto line = progress_line("copied", {1, 10000, 1}, kSecond, 60);
  EXPECT_NE(line.find("2:46:39 left"), std::string::npos) << line;
}

TEST(VhdWordsTest, ShowAFooter) {
  vhd::Footer footer;
  footer.creator = {'q', 'e', 'm', 'u'};
  footer.creator_version = 0x00050003;
  EXPECT_EQ(creator_text(footer), "qemu 5.3");
  footer.creator = {'t', 'a', 'p', '\0'};
  EXPECT_EQ(creator_text(footer), "tap 5.3");
  footer.creator = {'\x1b', 'a', 'p', '\0'};
  EXPECT_EQ(creator_text(footer), "0x1b617000 5.3");
  EXPECT_EQ(four_letters(0), "0x00000000");
  EXPECT_EQ(time_text({0}), "2000-01-01T00:00:00Z");
  EXPECT_EQ(time_text({~0U}), "2136-02-07T06:28:15Z");
}

}  // namespace
}  // namespace xenblk::img
