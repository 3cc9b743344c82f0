// xenblk-img convert between files, as a user runs it.
#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

constexpr std::uint64_t kSectors = 40000;  // not a multiple of a block

class ConvertCommandTest : public ImgTest {
 protected:
  void SetUp() override { make_raw("a.img", kSectors); }
  void expect_same(const std::string& one, const std::string& other) const {
    EXPECT_EQ(good({"compare", "--strict", one, other}), "the same content\n");
  }
};

TEST_F(ConvertCommandTest, GoesFromEachFormatToEach) {
  EXPECT_EQ(good({"convert", "raw:a.img", "vhd:dynamic.vhd"}), "");
  good({"convert", "vhd:dynamic.vhd", "vhd:fixed.vhd", "--type", "fixed"});
  good({"convert", "vhd:fixed.vhd", "vhd:small.vhd", "--block-size", "64K"});
  good({"convert", "vhd:small.vhd", "raw:b.img"});
  for (const auto* image : {"vhd:dynamic.vhd", "vhd:fixed.vhd", "vhd:small.vhd", "raw:b.img"}) {
    expect_same("raw:a.img", image);
  }
  EXPECT_TRUE(file_bytes(path("a.img")) == file_bytes(path("b.img")));
  EXPECT_EQ(json({"info", "--json", "vhd:small.vhd"})["block_size"], 65536);
  EXPECT_EQ(json({"info", "--json", "vhd:fixed.vhd"})["type"], "fixed");
}

TEST_F(ConvertCommandTest, LeavesHolesWhereThereAreZeroes) {
  good({"convert", "raw:a.img", "raw:b.img"});
  good({"convert", "raw:a.img", "vhd:dynamic.vhd"});
  good({"convert", "vhd:dynamic.vhd", "vhd:fixed.vhd", "--type", "fixed"});
  // 3000 sectors of data and the last one; the 1000 sectors of stored zeroes are left out.
  for (const auto* file : {"b.img", "dynamic.vhd", "fixed.vhd"}) {
    EXPECT_LE(stored_bytes(file), 3001U * 512 + 32768) << file;
  }
  EXPECT_EQ(json({"info", "--json", "vhd:dynamic.vhd"})["blocks_allocated"], 2);
}

TEST_F(ConvertCommandTest, RefusesATargetThatExists) {
  dir_.make_file("b.vhd", 10, 'x');
  EXPECT_EQ(refused({"convert", "raw:a.img", "vhd:b.vhd"}),
            "DIR/b.vhd: exists; it is replaced only with --force");
  EXPECT_EQ(file_bytes(path("b.vhd")).size(), 10U);
}

TEST_F(ConvertCommandTest, ReplacesATargetWhenItIsForced) {
  dir_.make_file("b.vhd", 10, 'x');
  good({"convert", "raw:a.img", "vhd:b.vhd", "--force"});
  expect_same("raw:a.img", "vhd:b.vhd");
  EXPECT_EQ(files(), (std::vector<std::string>{"a.img", "b.vhd"}));
}

TEST_F(ConvertCommandTest, NeverReplacesItsOwnSource) {
  const auto before = file_bytes(path("a.img"));
  EXPECT_EQ(refused({"convert", "raw:a.img", "raw:a.img", "--force"}),
            "DIR/a.img: locked by another process: Resource temporarily unavailable");
  EXPECT_TRUE(file_bytes(path("a.img")) == before);
}

TEST_F(ConvertCommandTest, LeavesNothingBehindWhenTheSourceIsNotThere) {
  EXPECT_EQ(refused({"convert", "raw:none.img", "vhd:b.vhd"}),
            "DIR/none.img: No such file or directory");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_F(ConvertCommandTest, LeavesNothingBehindWhenTheTargetCannotBeMade) {
  EXPECT_EQ(refused({"convert", "raw:a.img", "vhd:b.vhd", "--block-size", "3M"}, 2),
            "DIR/b.vhd: block size 3145728 is not a power of two from 4 KiB to 256 MiB (see "
            "xenblk-img convert --help)");
  EXPECT_EQ(files(), std::vector<std::string>{"a.img"});
}

TEST_F(ConvertCommandTest, RefusesOptionsThatDoNotGoTogether) {
  const auto hint = " (see xenblk-img convert --help)";
  EXPECT_EQ(refused({"convert", "raw:a.img", "raw:b.img", "--type", "fixed"}, 2),
            std::string("--type and --block-size are for VHDs, not for raw images") + hint);
  EXPECT_EQ(refused({"convert", "raw:a.img", "vhd:b.vhd", "--size", "1G"}, 2),
            std::string("--size is only for a SOURCE that is a pipe") + hint);
  EXPECT_EQ(refused({"convert", "-", "-"}, 2),
            std::string("SOURCE and TARGET cannot both be a pipe") + hint);
  EXPECT_EQ(refused({"convert", "vhd:-", "raw:b.img"}, 2),
            std::string("a VHD cannot be read from a pipe") + hint);
  EXPECT_EQ(refused({"convert", "raw:a.img", "raw:-", "--type", "fixed"}, 2),
            std::string("--type and --block-size are for VHDs") + hint);
  EXPECT_EQ(refused({"convert", "a.img", "vhd:b.vhd"}),
            "image 'a.img': say vhd:a.img or raw:a.img; the format is never guessed");
  EXPECT_EQ(refused({"convert", "raw:a.img", "b.vhd"}),
            "image 'b.vhd': say vhd:b.vhd or raw:b.vhd; the format is never guessed");
}

TEST_F(ConvertCommandTest, ShowsNoProgressInAPipe) {
  EXPECT_EQ(img({"convert", "raw:a.img", "vhd:b.vhd"}).err, "");
}

TEST_F(ConvertCommandTest, ExchangesImagesWithOtherPrograms) {
  good({"convert", "raw:a.img", "vhd:dynamic.vhd"});
  good({"convert", "raw:a.img", "vhd:fixed.vhd", "--type", "fixed"});
  for (const auto* file : {"dynamic.vhd", "fixed.vhd"}) {
    const auto compared =
        shell(std::string("qemu-img compare -f vpc -F raw ") + file + " a.img 2>&1");
    EXPECT_EQ(compared.status, 0) << compared.out;
    const auto read = shell(std::string("7zz x -tvhd -so ") + file + " | cmp - a.img");
    EXPECT_EQ(read.status, 0) << read.err;
  }
  for (const auto* kind : {"dynamic", "fixed"}) {
    const std::string name = std::string("qemu-") + kind + ".vhd";
    const auto made =
        shell("qemu-img convert -f raw -O vpc -o force_size=on,subformat=" + std::string(kind) +
              " a.img " + name);
    ASSERT_EQ(made.status, 0) << made.err;
    expect_same("raw:a.img", "vhd:" + name);
    good({"convert", "vhd:" + name, "raw:" + name + ".img"});
    EXPECT_TRUE(file_bytes(path("a.img")) == file_bytes(path(name + ".img")));
  }
}

}  // namespace
}  // namespace xenblk::test
