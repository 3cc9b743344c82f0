// xenblk-img create, as a user runs it.
#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

using CreateCommandTest = ImgTest;

TEST_F(CreateCommandTest, MakesADynamicVhd) {
  EXPECT_EQ(good({"create", "vhd:a.vhd", "--size", "20G"}), "");
  const auto info = json({"info", "--json", "vhd:a.vhd"});
  EXPECT_EQ(info["type"], "dynamic");
  EXPECT_EQ(info["virtual_size"], std::uint64_t{20} << 30);
  EXPECT_EQ(info["block_size"], 2U << 20);
  EXPECT_EQ(info["blocks_allocated"], 0);
  EXPECT_EQ(files(), (std::vector<std::string>{"a.vhd"}));
}

TEST_F(CreateCommandTest, MakesADynamicVhdOfOtherBlocks) {
  good({"create", "vhd:a.vhd", "--size", "20G", "--block-size", "512K", "--type", "dynamic"});
  EXPECT_EQ(json({"info", "--json", "vhd:a.vhd"})["block_size"], 512U << 10);
}

TEST_F(CreateCommandTest, MakesAFixedVhdThatTakesNoSpace) {
  good({"create", "vhd:a.vhd", "--size", "1G", "--type", "fixed"});
  const auto info = json({"info", "--json", "vhd:a.vhd"});
  EXPECT_EQ(info["type"], "fixed");
  EXPECT_EQ(info["file_size"], (std::uint64_t{1} << 30) + 512);
  EXPECT_LE(stored_bytes("a.vhd"), 8192U);
}

TEST_F(CreateCommandTest, MakesARawImage) {
  good({"create", "raw:a.img", "--size", "1G"});
  EXPECT_EQ(std::filesystem::file_size(path("a.img")), std::uint64_t{1} << 30);
  EXPECT_EQ(stored_bytes("a.img"), 0U);
}

TEST_F(CreateCommandTest, MakesTheChildOfAnImage) {
  good({"create", "vhd:a.vhd", "--size", "1G", "--block-size", "1M"});
  good({"create", "vhd:child.vhd", "--parent", "vhd:a.vhd"});
  const auto parent = json({"info", "--json", "vhd:a.vhd"});
  const auto child = json({"info", "--json", "vhd:child.vhd"});
  EXPECT_EQ(child["type"], "differencing");
  EXPECT_EQ(child["virtual_size"], parent["virtual_size"]);
  EXPECT_EQ(child["block_size"], parent["block_size"]);
  EXPECT_EQ(child["parent"]["uuid"], parent["uuid"]);
  EXPECT_EQ(child["parent"]["paths"][0]["path"], "a.vhd");
}

TEST_F(CreateCommandTest, RefusesAFileThatExists) {
  good({"create", "vhd:a.vhd", "--size", "1G"});
  const auto before = file_bytes(path("a.vhd"));
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--size", "2G"}),
            "DIR/a.vhd: exists; it is replaced only with --force");
  EXPECT_EQ(refused({"create", "raw:a.vhd", "--size", "2G"}),
            "DIR/a.vhd: exists; it is replaced only with --force");
  EXPECT_TRUE(file_bytes(path("a.vhd")) == before);
}

TEST_F(CreateCommandTest, ReplacesAFileWhenItIsForced) {
  good({"create", "vhd:a.vhd", "--size", "1G"});
  good({"create", "vhd:a.vhd", "--size", "2G", "--force"});
  EXPECT_EQ(json({"info", "--json", "vhd:a.vhd"})["virtual_size"], std::uint64_t{2} << 30);
  EXPECT_EQ(files(), (std::vector<std::string>{"a.vhd"}));
}

TEST_F(CreateCommandTest, NeverReplacesWhatIsNoRegularFile) {
  std::filesystem::create_directory(path("a.vhd"));
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--size", "2G", "--force"}),
            "DIR/a.vhd: is not a regular file, and is not replaced");
}

TEST_F(CreateCommandTest, RefusesADirectoryThatIsNotThere) {
  EXPECT_EQ(refused({"create", "vhd:none/a.vhd", "--size", "2G"}),
            "DIR/none/a.vhd: No such file or directory");
}

TEST_F(CreateCommandTest, RefusesSizesThatMakeNoDisk) {
  const auto hint = " (see xenblk-img create --help)";
  const auto size = [&](const std::string& text) {
    return refused({"create", "vhd:a.vhd", "--size", text}, 2);
  };
  EXPECT_EQ(size("0"), std::string("a disk of no size") + hint);
  EXPECT_EQ(size("1000"), std::string("size 1000 is not a multiple of 512 bytes") + hint);
  EXPECT_EQ(size("many"), std::string("'many' is not a size (like 512M or 20G)") + hint);
  EXPECT_EQ(size("2041G"),
            std::string("DIR/a.vhd: a disk of 4280287232 sectors is larger than 2190433320960 "
                        "bytes") +
                hint);
  EXPECT_EQ(files(), std::vector<std::string>{});
}

TEST_F(CreateCommandTest, RefusesBlockSizesThatTheFormatDoesNotHave) {
  const auto block_size = [&](const std::string& text) {
    return refused({"create", "vhd:a.vhd", "--size", "1G", "--block-size", text}, 2);
  };
  const auto hint = " is not a power of two from 4 KiB to 256 MiB (see xenblk-img create --help)";
  EXPECT_EQ(block_size("3M"), std::string("DIR/a.vhd: block size 3145728") + hint);
  EXPECT_EQ(block_size("512M"), std::string("DIR/a.vhd: block size 536870912") + hint);
  EXPECT_EQ(block_size("512"), std::string("DIR/a.vhd: block size 512") + hint);
}

TEST_F(CreateCommandTest, RefusesOptionsThatDoNotGoTogether) {
  const auto hint = " (see xenblk-img create --help)";
  EXPECT_EQ(refused({"create", "vhd:a.vhd"}, 2), std::string("--size is missing") + hint);
  EXPECT_EQ(refused({"create", "raw:a.img", "--size", "1G", "--type", "fixed"}, 2),
            std::string("--type and --block-size are for VHDs, not for raw images") + hint);
  EXPECT_EQ(
      refused({"create", "vhd:a.vhd", "--size", "1G", "--type", "fixed", "--block-size", "1M"}, 2),
      std::string("a fixed VHD has no blocks: no --block-size") + hint);
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--parent", "vhd:b.vhd", "--size", "1G"}, 2),
            std::string("a child is as large as its parent: no --size") + hint);
  EXPECT_EQ(refused({"create", "raw:a.img", "--parent", "vhd:b.vhd"}, 2),
            std::string("only a VHD can have a parent") + hint);
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--parent", "vhd:b.vhd", "--type", "fixed"}, 2),
            std::string("a child is a differencing VHD: no --type") + hint);
  EXPECT_EQ(refused({"create", "vhd:a.vhd", "--parent", "vhd:b.vhd", "--force"}, 2),
            std::string("a child never replaces a file: no --force") + hint);
}

TEST_F(CreateCommandTest, NeverGuessesAFormat) {
  EXPECT_EQ(refused({"create", "a.vhd", "--size", "1G"}),
            "image 'a.vhd': say vhd:a.vhd or raw:a.vhd; the format is never guessed");
  EXPECT_EQ(refused({"create", "null:1G", "--size", "1G"}),
            "image 'null:1G': a null image has no file");
}

TEST_F(CreateCommandTest, RefusesAParentThatIsNotThere) {
  EXPECT_EQ(refused({"create", "vhd:child.vhd", "--parent", "vhd:a.vhd"}),
            "DIR/a.vhd: No such file or directory");
  EXPECT_EQ(files(), std::vector<std::string>{});
}

}  // namespace
}  // namespace xenblk::test
