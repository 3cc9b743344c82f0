// Chains of images: snapshot, coalesce, and the other commands on them, as a user runs them.
#include "tests/tools/program.h"
#include "tests/vhd/blocking_disk.h"
#include "vhd/image_registry.h"

namespace xenblk::test {
namespace {

constexpr const char* kSame = "the same content\n";

// base.vhd <- middle.vhd <- leaf.vhd, with something of its own in each; expected.img has what the
// leaf shows.
class ChainCommandTest : public ImgTest {
 protected:
  void SetUp() override {
    make_raw("base.img", 40000);
    good({"convert", "raw:base.img", "vhd:base.vhd"});
    good({"snapshot", "base.vhd", "middle.vhd"});
    put("middle.vhd", 100, 50, 'm');
    put("middle.vhd", 20000, 1, 'm');
    good({"snapshot", "middle.vhd", "leaf.vhd"});
    put("leaf.vhd", 120, 5000, 'l');
    put("leaf.vhd", 300, 20, '\0');
    std::filesystem::copy(path("base.img"), path("expected.img"));
    put_raw(100, 50, 'm');
    put_raw(20000, 1, 'm');
    put_raw(120, 5000, 'l');
    put_raw(300, 20, '\0');
  }

  // As a guest would: no other program writes children.
  void put(const std::string& name, std::uint64_t first, std::uint64_t count, char fill) const {
    vhd::ImageRegistry registry;
    auto image = registry.open({vhd::Format::vhd, path(name), {}}, Access::read_write);
    ASSERT_TRUE(image) << image.error().text;
    FileEngine engine;
    EXPECT_EQ(BlockingDisk(**image, engine)
                  .write(first, bytes_of(count, static_cast<unsigned char>(fill))),
              IoStatus::okay);
    EXPECT_TRUE(registry.close(std::move(*image)));
  }
  void put_raw(std::uint64_t first, std::uint64_t count, char fill) const {
    std::fstream file(path("expected.img"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(first * 512)) << std::string(count * 512, fill);
  }
  void expect_content(const std::string& name) const {
    EXPECT_EQ(good({"compare", "--strict", "raw:expected.img", "vhd:" + name}), kSame);
  }
};

TEST_F(ChainCommandTest, InfoShowsEachImageOfTheChain) {
  const auto info = json({"info", "--json", "vhd:leaf.vhd"});
  ASSERT_EQ(info["chain"].size(), 3U);
  EXPECT_EQ(without_directory(info["chain"][0]["path"]), "DIR/leaf.vhd");
  EXPECT_EQ(without_directory(info["chain"][1]["path"]), "DIR/middle.vhd");
  EXPECT_EQ(without_directory(info["chain"][2]["path"]), "DIR/base.vhd");
  EXPECT_EQ(info["chain"][2]["type"], "dynamic");
  EXPECT_EQ(info["parent"]["uuid"], info["chain"][1]["uuid"]);
  EXPECT_EQ(info["warnings"], nlohmann::json::array());
  EXPECT_NE(good({"info", "vhd:leaf.vhd"}).find("level 2:          DIR/base.vhd (vhd dynamic, "),
            std::string::npos);
}

TEST_F(ChainCommandTest, InfoTellsThatAParentIsMissing) {
  std::filesystem::remove(path("base.vhd"));
  const auto info = json({"info", "--json", "vhd:leaf.vhd"});
  EXPECT_EQ(info["chain"].size(), 1U);
  EXPECT_EQ(info["warnings"][0]["code"], "parent");
}

TEST_F(ChainCommandTest, MapTellsWhichFileHasWhat) {
  const auto map = json({"map", "--json", "vhd:leaf.vhd"});
  ASSERT_GE(map.size(), 3U);
  EXPECT_EQ(map[0]["level"], 2);
  EXPECT_EQ(map[0]["length"], 100 * 512);
  EXPECT_EQ(without_directory(map[0]["file"]), "DIR/base.vhd");
  EXPECT_EQ(map[1]["level"], 1);
  EXPECT_EQ(map[1]["length"], 20 * 512);
  EXPECT_EQ(map[2]["level"], 0);
}

TEST_F(ChainCommandTest, ConvertCopiesWhatTheLeafShows) {
  good({"convert", "vhd:leaf.vhd", "vhd:flat.vhd"});
  expect_content("flat.vhd");
  EXPECT_EQ(json({"info", "--json", "vhd:flat.vhd"})["type"], "dynamic");
  EXPECT_EQ(shell("$img convert vhd:leaf.vhd - | cmp - expected.img").status, 0);
  EXPECT_EQ(shell("$img convert vhd:leaf.vhd - --type dynamic > stream.vhd").status, 0);
  expect_content("stream.vhd");
}

TEST_F(ChainCommandTest, OtherProgramsReadTheChain) {
  const auto read = shell("7zz x -tvhd -so leaf.vhd | cmp - expected.img");
  EXPECT_EQ(read.status, 0) << read.err << read.out;
}

TEST_F(ChainCommandTest, CoalesceMergesTheLeafIntoItsParent) {
  EXPECT_EQ(good({"coalesce", "leaf.vhd"}), "");
  expect_content("middle.vhd");
  EXPECT_FALSE(std::filesystem::exists(path("leaf.vhd")));
  good({"coalesce", "middle.vhd"});
  expect_content("base.vhd");
  EXPECT_EQ(files(), (std::vector<std::string>{"base.img", "base.vhd", "expected.img"}));
  EXPECT_EQ(good({"check", "base.vhd"}), "DIR/base.vhd: good\n");
}

TEST_F(ChainCommandTest, CoalesceGivesTheChildsChildrenToTheParent) {
  EXPECT_EQ(good({"coalesce", "middle.vhd"}), "");
  expect_content("leaf.vhd");
  const auto info = json({"info", "--json", "vhd:leaf.vhd"});
  ASSERT_EQ(info["chain"].size(), 2U);
  EXPECT_EQ(without_directory(info["chain"][1]["path"]), "DIR/base.vhd");
  EXPECT_EQ(good({"check", "leaf.vhd"}), "DIR/leaf.vhd: good\n");
}

TEST_F(ChainCommandTest, CoalesceRefusesAParentThatHasOtherChildren) {
  good({"snapshot", "base.vhd", "other.vhd"});
  const auto before = file_bytes(path("base.vhd"));
  EXPECT_EQ(refused({"coalesce", "middle.vhd"}),
            "DIR/base.vhd: is the parent of DIR/other.vhd too, which would change");
  EXPECT_TRUE(file_bytes(path("base.vhd")) == before);
  expect_content("leaf.vhd");
}

TEST_F(ChainCommandTest, CoalesceRefusesWhatHasNoParent) {
  EXPECT_EQ(refused({"coalesce", "base.vhd"}), "DIR/base.vhd: has no parent to be merged into");
  EXPECT_EQ(refused({"coalesce", "raw:base.img"}),
            "image 'raw:base.img': only VHDs can be given here");
}

TEST_F(ChainCommandTest, CoalesceMakesASmallerParentLarger) {
  good({"resize", "leaf.vhd", "1G"});
  good({"coalesce", "leaf.vhd"});
  EXPECT_EQ(json({"info", "--json", "vhd:middle.vhd"})["virtual_size"], std::uint64_t{1} << 30);
  EXPECT_EQ(img({"compare", "raw:expected.img", "vhd:middle.vhd"}).status, 0);
}

// Beyond the end of middle.vhd the leaf shows zeroes, and not what base.vhd has there.
TEST_F(ChainCommandTest, CoalesceRefusesToUncoverWhatTheParentHides) {
  good({"resize", "middle.vhd", "12288000"});
  EXPECT_EQ(refused({"coalesce", "leaf.vhd"}),
            "DIR/middle.vhd: its 24000 sectors are fewer than the 40000 of its own parent, which "
            "would show beyond them");
  EXPECT_NE(good({"info", "vhd:leaf.vhd"}), "") << "the leaf is still there";
}

TEST_F(ChainCommandTest, ParentsElsewhereAreFoundOnlyWhereTheyMayLie) {
  std::filesystem::create_directory(path("store"));
  std::filesystem::rename(path("leaf.vhd"), path("store/leaf.vhd"));
  EXPECT_EQ(img({"compare", "raw:expected.img", "vhd:store/leaf.vhd"}).status, 1);
  std::filesystem::remove(path("store/leaf.vhd"));
  good({"snapshot", "middle.vhd", "store/leaf.vhd"});
  EXPECT_EQ(img({"compare", "vhd:middle.vhd", "vhd:store/leaf.vhd"}).status, 1);
  EXPECT_EQ(
      good({"compare", "--image-directory", path("."), "vhd:middle.vhd", "vhd:store/leaf.vhd"}),
      kSame);
}

TEST_F(ChainCommandTest, ARawParentIsTakenOnlyWhenThatIsSaid) {
  good({"create", "vhd:child.vhd", "--parent", "raw:base.img"});
  EXPECT_EQ(img({"compare", "raw:base.img", "vhd:child.vhd"}).status, 1);
  EXPECT_EQ(good({"compare", "--raw-parent", "raw:base.img", "vhd:child.vhd"}), kSame);
}

TEST_F(ChainCommandTest, SnapshotRefusesWhatItCannotUse) {
  EXPECT_EQ(refused({"snapshot", "base.vhd", "middle.vhd"}), "DIR/middle.vhd: File exists");
  EXPECT_EQ(refused({"snapshot", "none.vhd", "new.vhd"}),
            "DIR/none.vhd: No such file or directory");
  EXPECT_EQ(refused({"snapshot", "raw:base.img", "new.vhd"}),
            "image 'raw:base.img': only VHDs can be given here");
}

}  // namespace
}  // namespace xenblk::test
