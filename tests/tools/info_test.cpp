// xenblk-img info and map, as a user runs them.
#include "tests/tools/program.h"

namespace xenblk::test {
namespace {

using InfoTest = ImgTest;

TEST_F(InfoTest, ShowsAVhd) {
  good({"create", "vhd:a.vhd", "--size", "1G"});
  const auto text = good({"info", "vhd:a.vhd"});
  const std::string start =
      "image:            DIR/a.vhd\n"
      "format:           vhd dynamic\n"
      "virtual size:     1 GiB (1073741824 bytes)\n"
      "file size:        4 KiB (4096 bytes)\n"
      "disk usage:       ";
  EXPECT_EQ(text.substr(0, start.size()), start);
  EXPECT_NE(text.find("\nblock size:       2 MiB\n"
                      "blocks:           0 of 512 allocated\n"
                      "creator:          xblk 1.0 (Wi2k)\n"),
            std::string::npos)
      << text;
}

TEST_F(InfoTest, HasTheDocumentedKeys) {
  good({"create", "vhd:a.vhd", "--size", "1G"});
  const auto info = json({"info", "--json", "vhd:a.vhd"});
  for (const auto* key :
       {"path", "format", "virtual_size", "file_size", "disk_usage", "type", "uuid", "creator",
        "creator_host", "created", "original_size", "geometry", "saved_state", "hidden",
        "block_size", "blocks", "blocks_allocated", "warnings"}) {
    EXPECT_TRUE(info.contains(key)) << key;
  }
  EXPECT_EQ(without_directory(info["path"]), "DIR/a.vhd");
  EXPECT_EQ(info["format"], "vhd");
  EXPECT_EQ(info["geometry"].size(), 3U);
  EXPECT_EQ(info["uuid"].get<std::string>().size(), 36U);
  EXPECT_EQ(info["saved_state"], false);
}

TEST_F(InfoTest, ShowsARawImage) {
  make_raw("a.img", 20000);
  const auto info = json({"info", "--json", "raw:a.img"});
  EXPECT_EQ(info["format"], "raw");
  EXPECT_EQ(info["virtual_size"], 20000 * 512);
  EXPECT_EQ(info["disk_usage"], stored_bytes("a.img"));
  EXPECT_FALSE(info.contains("uuid"));
}

TEST_F(InfoTest, ShowsWhatOtherProgramsMade) {
  ASSERT_EQ(shell("qemu-img create -q -f vpc -o force_size=on a.vhd 100M").status, 0);
  const auto info = json({"info", "--json", "vhd:a.vhd"});
  EXPECT_EQ(info["virtual_size"], 100U << 20);
  EXPECT_EQ(info["creator"], "qem2 5.3");
  EXPECT_EQ(info["creator_host"], "Wi2k");
}

TEST_F(InfoTest, TellsWhatIsWrongWithAnImageThatCanBeRead) {
  make_raw("a.img", 40000);
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  std::filesystem::resize_file(path("a.vhd"), std::filesystem::file_size(path("a.vhd")) - 512);
  const auto info = json({"info", "--json", "vhd:a.vhd"});
  ASSERT_EQ(info["warnings"].size(), 1U) << info["warnings"];
  EXPECT_FALSE(info["warnings"][0]["code"].get<std::string>().empty());
  EXPECT_EQ(without_directory(info["warnings"][0]["text"]).substr(0, 11), "DIR/a.vhd: ");
}

TEST_F(InfoTest, RefusesWhatIsNoVhd) {
  dir_.make_file("a.img", 4096);
  EXPECT_EQ(refused({"info", "vhd:a.img"}),
            "DIR/a.img: no valid VHD footer: at 0xe00 the cookie is not 'conectix'; at 0x0 the "
            "cookie is not 'conectix'");
  EXPECT_EQ(refused({"info", "a.img"}),
            "image 'a.img': say vhd:a.img or raw:a.img; the format is never guessed");
}

TEST_F(InfoTest, RefusesWhatIsNoFile) {
  EXPECT_EQ(refused({"info", "raw:none"}), "DIR/none: No such file or directory");
  EXPECT_EQ(refused({"info", "raw:."}), "DIR/.: neither a regular file nor a block device");
}

using MapTest = ImgTest;

TEST_F(MapTest, ShowsWhereTheDataOfADynamicVhdLies) {
  make_raw("a.img", 40000);
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  const auto text = [](const std::string& first, const std::string& second) {
    return "             start             length kind              offset file\n"
           "               0x0           0x200000 data " +
           first +
           " DIR/a.vhd\n"
           "          0x200000          0x1000000 zero \n"
           "         0x1200000           0x188000 data " +
           second + " DIR/a.vhd\n";
  };
  // Blocks are written side by side: either may come first in the file.
  const auto map = good({"map", "vhd:a.vhd"});
  if (map != text("           0x203000", "             0x2000")) {
    EXPECT_EQ(map, text("             0x2000", "           0x203000"));
  }
}

TEST_F(MapTest, HasTheDocumentedKeys) {
  make_raw("a.img", 40000);
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  const auto map = json({"map", "--json", "vhd:a.vhd"});
  ASSERT_EQ(map.size(), 3U);
  EXPECT_EQ(map[1], (nlohmann::json{
                        {"start", 2 << 20}, {"length", 16 << 20}, {"kind", "zero"}, {"level", 0}}));
  EXPECT_EQ(map[0]["kind"], "data");
  EXPECT_EQ(map[0]["level"], 0);
  EXPECT_EQ(std::min(map[0]["offset"].get<int>(), map[2]["offset"].get<int>()), 0x2000);
  EXPECT_EQ(without_directory(map[0]["file"]), "DIR/a.vhd");
}

TEST_F(MapTest, TellsTheOffsetAtWhichTheFileHasTheData) {
  make_raw("a.img", 40000);
  good({"convert", "raw:a.img", "vhd:a.vhd"});
  const auto file = file_bytes(path("a.vhd"));
  const auto raw = file_bytes(path("a.img"));
  for (const auto& run : json({"map", "--json", "vhd:a.vhd"})) {
    if (run["kind"] == "zero") continue;
    const auto piece = std::span(raw).subspan(run["start"], run["length"]);
    EXPECT_TRUE(std::ranges::equal(std::span(file).subspan(run["offset"], run["length"]), piece));
  }
}

TEST_F(MapTest, JoinsWhatLiesInOnePiece) {
  make_raw("a.img", 40000);
  good({"convert", "raw:a.img", "vhd:a.vhd", "--type", "fixed"});
  const auto map = json({"map", "--json", "vhd:a.vhd"});
  ASSERT_EQ(map.size(), 3U);
  EXPECT_EQ(map[0]["length"], 3000 * 512);
  EXPECT_EQ(map[2]["offset"], map[2]["start"]);
}

TEST_F(MapTest, ShowsTheHolesOfARawImage) {
  good({"create", "raw:a.img", "--size", "1G"});
  EXPECT_EQ(
      json({"map", "--json", "raw:a.img"}),
      nlohmann::json::array(
          {{{"start", 0}, {"length", std::uint64_t{1} << 30}, {"kind", "zero"}, {"level", 0}}}));
}

// --- the largest dynamic disk ---

using HugeDiskTest = ImgTest;

TEST_F(HugeDiskTest, IsLookedIntoWithoutReadingItAll) {
  good({"create", "vhd:huge.vhd", "--size", "2040G"});
  EXPECT_EQ(json({"info", "--json", "vhd:huge.vhd"})["blocks"], 1044480);
  EXPECT_EQ(json({"map", "--json", "vhd:huge.vhd"}).size(), 1U);
  good({"create", "vhd:child.vhd", "--parent", "vhd:huge.vhd"});
  EXPECT_EQ(json({"info", "--json", "vhd:child.vhd"})["virtual_size"], std::uint64_t{2040} << 30);
}

TEST_F(HugeDiskTest, IsConvertedAndComparedByWhatItHolds) {
  good({"create", "vhd:huge.vhd", "--size", "2040G"});
  good({"convert", "vhd:huge.vhd", "vhd:copy.vhd"});
  EXPECT_EQ(good({"compare", "vhd:huge.vhd", "vhd:copy.vhd"}), "the same content\n");
  const auto streamed = shell("$img convert vhd:huge.vhd - --type dynamic > stream.vhd");
  EXPECT_EQ(streamed.status, 0) << streamed.err;
  EXPECT_EQ(good({"compare", "vhd:huge.vhd", "vhd:stream.vhd"}), "the same content\n");
}

}  // namespace
}  // namespace xenblk::test
