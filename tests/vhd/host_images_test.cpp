// Operations by path: the journal is looked for, and errors name the file.
#include "vhd/operations/host_images.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/host_file.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::vhd {
namespace {

class HostImages : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd_file(path_, {.capacity = {100}, .uuid = Uuid{std::byte{1}}}));
  }
  VhdLayout layout_of(const std::string& path) {
    auto file = std::move(open_host_file(path, {}).value());
    return read_vhd_layout(*file, read_footers(*file).value()).value();
  }
  test::TempDir dir_;
  std::string path_ = dir_.path("a.vhd");
};

TEST_F(HostImages, AreResized) {
  ASSERT_TRUE(resize_host_image(path_, {kDynamicBytesMax / 512}));
  EXPECT_EQ(layout_of(path_).capacity.n, kDynamicBytesMax / 512);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".vhdj"));
  EXPECT_EQ(resize_host_image(path_, {0}).error(),
            (Error{Errc::bad_spec, 0, path_ + ": a disk of no size"}));
}
TEST_F(HostImages, AreRepairedAndTheOldMetadataIsKept) {
  EXPECT_TRUE(repair_host_image(path_)->done.empty());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".before-repair-1"));
  for (int n = 1; n <= 2; ++n) {
    std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 512);
    EXPECT_EQ(repair_host_image(path_)->done.size(), 1U);
    const auto saved =
        parse_saved_metadata(test::file_bytes(path_ + ".before-repair-" + std::to_string(n)));
    EXPECT_EQ(saved.value().uuid, Uuid{std::byte{1}});
  }
}
TEST_F(HostImages, ArePutBackWhereAResizeWasInterrupted) {
  const auto before = test::file_bytes(path_);
  const SavedMetadata saved{Uuid{std::byte{1}},
                            before.size(),
                            {{before.size() - 512, {before.end() - 512, before.end()}}}};
  ASSERT_TRUE(MetadataFile(path_ + ".vhdj").save(encode(saved)));
  std::filesystem::resize_file(path_, before.size() + 4096);
  EXPECT_TRUE(repair_host_image(path_)->done.empty());
  EXPECT_EQ(test::file_bytes(path_), before);
}
TEST_F(HostImages, GetAnotherParent) {
  const auto child = dir_.path("c.vhd");
  const auto base = dir_.path("base.vhd");
  ASSERT_TRUE(create_vhd_file(base, {.capacity = {100}, .uuid = Uuid{std::byte{2}}}));
  ASSERT_TRUE(make_snapshot({path_, child, {}}, Format::vhd));
  ASSERT_TRUE(relink_host_image(child, base));
  const auto layout = layout_of(child);
  EXPECT_EQ(layout.header.parent_uuid, Uuid{std::byte{2}});
  EXPECT_EQ(layout.parents.candidates[0].path, "base.vhd");
}
TEST_F(HostImages, AreNamedInErrors) {
  const auto raw = dir_.make_file("raw", 4096);
  EXPECT_EQ(repair_host_image(raw).error().text.substr(0, raw.size() + 1), raw + ":");
  EXPECT_EQ(repair_host_image(dir_.path("none")).error(),
            (Error{Errc::not_found, ENOENT, dir_.path("none")}));
}

}  // namespace
}  // namespace xenblk::vhd
