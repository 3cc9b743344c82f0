// xenblk-img compare, as a user runs it.
#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

class CompareCommandTest : public ImgTest {
 protected:
  void SetUp() override {
    make_raw("a.img", 20000);
    good({"convert", "raw:a.img", "vhd:a.vhd"});
  }
  void poke(const std::string& name, std::streamoff offset) const {
    std::fstream file(path(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset) << '!';
  }
};

TEST_F(CompareCommandTest, SaysThatTwoImagesAreTheSame) {
  EXPECT_EQ(good({"compare", "raw:a.img", "vhd:a.vhd"}), "the same content\n");
}

TEST_F(CompareCommandTest, SaysWhereTheFirstDifferenceIs) {
  poke("a.img", 5000000);
  poke("a.img", 7000000);
  EXPECT_EQ(refused({"compare", "raw:a.img", "vhd:a.vhd"}),
            "raw:a.img and vhd:a.vhd differ at byte 5000000 (sector 9765)");
}

TEST_F(CompareCommandTest, TakesAHoleForZeroes) {
  good({"create", "raw:empty.img", "--size", "1M"});
  dir_.make_file("zeroes.img", 1 << 20);
  EXPECT_EQ(good({"compare", "raw:empty.img", "raw:zeroes.img"}), "the same content\n");
}

TEST_F(CompareCommandTest, SaysThatOnlyTheSizesDiffer) {
  std::filesystem::resize_file(path("a.img"), 20008 * 512);
  EXPECT_EQ(good({"compare", "raw:a.img", "vhd:a.vhd"}),
            "the same content, but raw:a.img has 10244096 bytes and vhd:a.vhd has 10240000; what "
            "only one has is zeroes\n");
  EXPECT_EQ(refused({"compare", "--strict", "raw:a.img", "vhd:a.vhd"}),
            "raw:a.img has 10244096 bytes and vhd:a.vhd has 10240000");
}

TEST_F(CompareCommandTest, RefusesWhatCannotBeOpened) {
  EXPECT_EQ(refused({"compare", "raw:a.img", "vhd:none.vhd"}),
            "DIR/none.vhd: No such file or directory");
  EXPECT_EQ(refused({"compare", "vhd:a.vhd", "vhd:a.img"}),
            "DIR/a.img: no valid VHD footer: at 0x9c3e00 the cookie is not 'conectix'; at 0x0 the "
            "cookie is not 'conectix'");
  EXPECT_EQ(refused({"compare", "a.img", "vhd:a.vhd"}),
            "image 'a.img': say vhd:a.img or raw:a.img; the format is never guessed");
}

}  // namespace
}  // namespace xenblk::test
