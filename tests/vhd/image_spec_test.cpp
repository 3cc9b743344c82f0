// What users write as an image, and what is refused.
#include "vhd/image_spec.h"

#include <gtest/gtest.h>

namespace xenblk::vhd {
namespace {

Error error_of(std::string_view params) {
  const auto spec = parse_image_spec(params);
  return spec ? Error{} : spec.error();
}

ImageSpec spec_of(std::string_view params) {
  return parse_image_spec(params).value();
}

TEST(ImageSpec, NamesAVhd) {
  EXPECT_EQ(spec_of("vhd:/srv/a.vhd"), (ImageSpec{Format::vhd, "/srv/a.vhd", {}}));
}
TEST(ImageSpec, NamesARawImage) {
  EXPECT_EQ(spec_of("raw:/srv/a"), (ImageSpec{Format::raw, "/srv/a", {}}));
}
TEST(ImageSpec, TakesAioAsRaw) {
  EXPECT_EQ(spec_of("aio:/srv/a"), (ImageSpec{Format::raw, "/srv/a", {}}));
}
TEST(ImageSpec, TakesABarePathAsRaw) {
  EXPECT_EQ(spec_of("/dev/vg/a"), (ImageSpec{Format::raw, "/dev/vg/a", {}}));
}
TEST(ImageSpec, NeverProbesAPathByItsName) {
  EXPECT_EQ(spec_of("/srv/a.vhd").format, Format::raw);
}
TEST(ImageSpec, KeepsColonsOfThePath) {
  EXPECT_EQ(spec_of("vhd:/srv/a:b").path, "/srv/a:b");
}
TEST(ImageSpec, GivesANullImageASize) {
  EXPECT_EQ(spec_of("null:1G").null_size.n, 2097152U);
}
TEST(ImageSpec, TakesANullSizeInBytes) {
  EXPECT_EQ(spec_of("null:1024").null_size.n, 2U);
}

TEST(ImageSpec, RefusesNothing) {
  EXPECT_EQ(error_of(""), (Error{Errc::bad_spec, 0, "no image is named"}));
}
TEST(ImageSpec, RefusesAnUnknownFormat) {
  EXPECT_EQ(
      error_of("qcow2:/a"),
      (Error{Errc::bad_spec, 0, "image 'qcow2:/a': unknown format (known: vhd, raw, aio, null)"}));
}
TEST(ImageSpec, RefusesARelativePath) {
  EXPECT_EQ(error_of("vhd:a"),
            (Error{Errc::bad_spec, 0, "image 'vhd:a': the path is not absolute"}));
}
TEST(ImageSpec, RefusesABareRelativePath) {
  EXPECT_EQ(error_of("a.img"),
            (Error{Errc::bad_spec, 0, "image 'a.img': neither a format nor an absolute path"}));
}
TEST(ImageSpec, RefusesAnEmptyPath) {
  EXPECT_EQ(error_of("raw:"), (Error{Errc::bad_spec, 0, "image 'raw:': no path"}));
}
TEST(ImageSpec, RefusesAnEmbeddedNul) {
  EXPECT_EQ(error_of({"vhd:/a\0b", 8}),
            (Error{Errc::bad_spec, 0, "image 'vhd:/a?b': a control character"}));
}
TEST(ImageSpec, NeverEchoesControlCharacters) {
  EXPECT_EQ(error_of("raw:/\x1b[2J\n").text, "image 'raw:/?[2J?': a control character");
}
TEST(ImageSpec, NeverEchoesBytesThatATerminalMayRead) {
  EXPECT_EQ(error_of("x\x9b:/a").text,
            "image 'x?:/a': unknown format (known: vhd, raw, aio, null)");
}
TEST(ImageSpec, ShortensWhatItEchoes) {
  EXPECT_EQ(error_of("raw:" + std::string(100, 'x')).text,
            "image 'raw:" + std::string(76, 'x') + "...': the path is not absolute");
}
TEST(ImageSpec, RefusesAPathThatNoSystemTakes) {
  EXPECT_EQ(error_of("/" + std::string(5000, 'a')).code, Errc::bad_spec);
}
TEST(ImageSpec, RefusesSizesThatAreNone) {
  for (const auto* size :
       {"", "-1", "1X", "1GG", "x", "0", "511", "99999999999999999999", "16777216T"}) {
    EXPECT_EQ(error_of(std::string("null:") + size).code, Errc::bad_spec) << size;
  }
}

}  // namespace
}  // namespace xenblk::vhd
