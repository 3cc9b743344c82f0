// xenblk-img check, repair and resize, as a user runs them.
#include "tests/tools/program.h"
#include "vhd/format/footer.h"

namespace xenblk::test {
namespace {

class CheckCommandTest : public ImgTest {
 protected:
  void SetUp() override {
    make_raw("a.img", 40000);
    good({"convert", "raw:a.img", "vhd:a.vhd"});
  }
  void overwrite(std::uint64_t offset, const std::string& bytes) const {
    std::fstream file(path("a.vhd"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset)) << bytes;
  }
  // Both footers, with their checksums.
  void mark_saved_state() const {
    const auto bytes = file_bytes(path("a.vhd"));
    auto footer = vhd::parse_footer(std::span(bytes).first<vhd::kFooterBytes>()).value();
    footer.saved_state = true;
    const auto marked = vhd::write_footer(footer);
    const std::string text(reinterpret_cast<const char*>(marked.data()), marked.size());
    overwrite(0, text);
    overwrite(bytes.size() - text.size(), text);
  }
  void cut_footer() const {
    std::filesystem::resize_file(path("a.vhd"), std::filesystem::file_size(path("a.vhd")) - 512);
  }
  void expect_content() const {
    EXPECT_EQ(good({"compare", "raw:a.img", "vhd:a.vhd"}), "the same content\n");
  }
};

TEST_F(CheckCommandTest, AGoodImageIsStatusZero) {
  EXPECT_EQ(good({"check", "a.vhd"}), "DIR/a.vhd: good\n");
  const auto report = json({"check", "--json", "vhd:a.vhd"});
  EXPECT_EQ(report["status"], "good");
  EXPECT_EQ(report["findings"], nlohmann::json::array());
}

TEST_F(CheckCommandTest, ABrokenImageIsStatusOneWithALineThatSaysWhere) {
  overwrite(512, "broken!!");  // the header's cookie
  const auto ended = img({"check", "--json", "a.vhd"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(std::ranges::count(ended.err, '\n'), 1) << ended.err;
  EXPECT_TRUE(ended.err.starts_with("xenblk-img: " + path("a.vhd") + ": 1 error, first: "))
      << ended.err;
  const auto report = nlohmann::json::parse(ended.out);
  EXPECT_EQ(report["status"], "broken");
  EXPECT_EQ(report["findings"][0]["severity"], "error");
  EXPECT_FALSE(report["findings"][0]["code"].get<std::string>().empty());
}

TEST_F(CheckCommandTest, AnImageThatNeedsALookIsStatusThree) {
  mark_saved_state();
  const auto ended = img({"check", "a.vhd"});
  EXPECT_EQ(ended.status, 3) << ended.out << ended.err;
  EXPECT_EQ(ended.err, "");
  EXPECT_TRUE(ended.out.starts_with("warning: ")) << ended.out;
}

TEST_F(CheckCommandTest, OnlyVhdsCanBeChecked) {
  EXPECT_EQ(refused({"check", "raw:a.img"}), "image 'raw:a.img': only VHDs can be given here");
  EXPECT_EQ(refused({"check", "none.vhd"}), "DIR/none.vhd: No such file or directory");
}

TEST_F(CheckCommandTest, FindsTheParentOfAChild) {
  good({"snapshot", "a.vhd", "child.vhd"});
  EXPECT_EQ(good({"check", "child.vhd"}), "DIR/child.vhd: good\n");
  std::filesystem::remove(path("a.vhd"));
  EXPECT_EQ(img({"check", "child.vhd"}).status, 1);
}

TEST_F(CheckCommandTest, RepairLeavesAGoodImageAlone) {
  const auto before = file_bytes(path("a.vhd"));
  EXPECT_EQ(good({"repair", "a.vhd"}), "DIR/a.vhd: nothing to repair\n");
  EXPECT_TRUE(file_bytes(path("a.vhd")) == before);
  EXPECT_EQ(files(), (std::vector<std::string>{"a.img", "a.vhd"}));
}

TEST_F(CheckCommandTest, RepairPutsAFooterBack) {
  cut_footer();
  EXPECT_NE(img({"check", "a.vhd"}).status, 0);
  const auto said = good({"repair", "a.vhd"});
  EXPECT_TRUE(said.ends_with("DIR/a.vhd: repaired\n")) << said;
  EXPECT_EQ(good({"check", "a.vhd"}), "DIR/a.vhd: good\n");
  expect_content();
}

TEST_F(CheckCommandTest, RepairRefusesWhatIsNoVhd) {
  EXPECT_EQ(refused({"repair", "vhd:a.img"}),
            "DIR/a.img: no valid VHD footer: at 0x1387e00 the cookie is not 'conectix'; at 0x0 the "
            "cookie is not 'conectix'");
}

TEST_F(CheckCommandTest, ResizeMakesADiskLarger) {
  EXPECT_EQ(good({"resize", "a.vhd", "50G"}), "");
  EXPECT_EQ(json({"info", "--json", "vhd:a.vhd"})["virtual_size"], std::uint64_t{50} << 30);
  EXPECT_EQ(good({"check", "a.vhd"}), "DIR/a.vhd: good\n");
  EXPECT_EQ(img({"compare", "raw:a.img", "vhd:a.vhd"}).status, 0);
  EXPECT_EQ(files(), (std::vector<std::string>{"a.img", "a.vhd"}));
}

TEST_F(CheckCommandTest, ResizeRefusesToLoseData) {
  const auto before = file_bytes(path("a.vhd"));
  EXPECT_TRUE(refused({"resize", "a.vhd", "1M"}).starts_with("DIR/a.vhd: "));
  EXPECT_TRUE(file_bytes(path("a.vhd")) == before);
  expect_content();
}

TEST_F(CheckCommandTest, ResizeRefusesSizesThatAreNone) {
  EXPECT_EQ(refused({"resize", "a.vhd", "large"}, 2),
            "'large' is not a size (like 512M or 20G) (see xenblk-img resize --help)");
  EXPECT_EQ(refused({"resize", "raw:a.img", "1G"}),
            "image 'raw:a.img': only VHDs can be given here");
}

TEST_F(CheckCommandTest, TheLargestDiskIsCheckedAndResized) {
  good({"create", "vhd:huge.vhd", "--size", "2000G"});
  good({"resize", "huge.vhd", "2040G"});
  EXPECT_EQ(json({"check", "--json", "huge.vhd"})["status"], "good");
  good({"snapshot", "huge.vhd", "child.vhd"});
  EXPECT_EQ(good({"check", "child.vhd"}), "DIR/child.vhd: good\n");
}

}  // namespace
}  // namespace xenblk::test
