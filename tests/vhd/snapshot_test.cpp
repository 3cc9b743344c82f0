// Children of images: what they say of their parents, and that they appear whole or not at all.
#include "vhd/operations/snapshot.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/vhd/sim_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/host_file.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

constexpr Uuid kParentUuid{std::byte{7}};
constexpr std::uint64_t kSectors = 40001;

class Snapshot : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_.path("base"));
    std::filesystem::create_directories(dir_.path("vm"));
  }
  std::string make_parent(const std::string& name, DiskType type = DiskType::dynamic,
                          std::uint32_t block_bytes = 512 * 1024) {
    EXPECT_TRUE(create_vhd_file(
        dir_.path(name),
        {.capacity = {kSectors}, .type = type, .block_bytes = block_bytes, .uuid = kParentUuid}));
    return dir_.path(name);
  }
  VhdLayout layout_of(const std::string& path) {
    auto file = std::move(open_host_file(path, {}).value());
    return read_vhd_layout(*file, read_footers(*file).value()).value();
  }
  std::vector<std::string> files_in(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path(folder))) {
      names.push_back(entry.path().filename());
    }
    std::ranges::sort(names);
    return names;
  }
  test::TempDir dir_;
};

TEST_F(Snapshot, SaysWhereItsParentIsAndWhichOne) {
  const auto parent = make_parent("base/p.vhd");
  const auto child = dir_.path("vm/c.vhd");
  ASSERT_TRUE(make_snapshot({parent, child, {}}, Format::vhd));
  const auto layout = layout_of(child);
  EXPECT_EQ(layout.footers.chosen.type, DiskType::differencing);
  EXPECT_NE(layout.footers.chosen.uuid, kParentUuid);
  EXPECT_TRUE(layout.footers.copy_valid && layout.footer_at_end_valid);
  EXPECT_EQ(layout.header.parent_uuid, kParentUuid);
  struct stat status = {};
  ASSERT_EQ(::stat(parent.c_str(), &status), 0);
  EXPECT_EQ(layout.header.parent_changed, vhd_time(static_cast<std::uint64_t>(status.st_mtime)));
  EXPECT_EQ(layout.parents.candidates,
            (std::vector<ParentPath>{{"../base/p.vhd", PathOrigin::relative},
                                     {"p.vhd", PathOrigin::name}}));
  EXPECT_TRUE(layout.warnings.empty());
}

TEST_F(Snapshot, HasTheSizeAndTheBlocksOfItsParent) {
  ASSERT_TRUE(make_snapshot({make_parent("p.vhd"), dir_.path("c.vhd"), {}}, Format::vhd));
  const auto layout = layout_of(dir_.path("c.vhd"));
  EXPECT_EQ(layout.capacity.n, kSectors);
  EXPECT_EQ(layout.shape.block_bytes, 512U * 1024);
  EXPECT_EQ(std::ranges::count(layout.entries, kUnusedBlock), std::ranges::ssize(layout.entries));
  ASSERT_TRUE(make_snapshot({dir_.path("c.vhd"), dir_.path("d.vhd"), 1U << 20}, Format::vhd));
  EXPECT_EQ(layout_of(dir_.path("d.vhd")).shape.block_bytes, 1U << 20);
  EXPECT_EQ(layout_of(dir_.path("d.vhd")).header.parent_uuid, layout.footers.chosen.uuid);
}

TEST_F(Snapshot, PutsNoMetadataBehindItsTable) {
  ASSERT_TRUE(make_snapshot({make_parent("p.vhd"), dir_.path("c.vhd"), {}}, Format::vhd));
  const auto layout = layout_of(dir_.path("c.vhd"));
  EXPECT_EQ(layout.metadata.size(), 6U) << "footer copy, header, table, three locators";
  EXPECT_EQ(layout.header.table_offset + 512, layout.end_of_metadata);
  EXPECT_EQ(layout.end_of_data, layout.footers.end_offset);
}

TEST_F(Snapshot, OfARawDiskHasNoParentId) {
  const auto raw = dir_.make_file("disk", 3 << 20);
  ASSERT_TRUE(make_snapshot({raw, dir_.path("c.vhd"), {}}, Format::raw));
  const auto layout = layout_of(dir_.path("c.vhd"));
  EXPECT_EQ(layout.header.parent_uuid, Uuid{});
  EXPECT_EQ(layout.capacity.n, (3U << 20) / 512);
}

TEST_F(Snapshot, OfAFixedDiskHasItsSize) {
  const auto parent = make_parent("p.vhd", DiskType::fixed);
  ASSERT_TRUE(make_snapshot({parent, dir_.path("c.vhd"), {}}, Format::vhd));
  EXPECT_EQ(layout_of(dir_.path("c.vhd")).capacity.n, kSectors);
}

TEST_F(Snapshot, FollowsLinksOnTheWayButKeepsTheParentsName) {
  const auto parent = make_parent("base/p.vhd");
  ASSERT_EQ(::symlink(dir_.path("base").c_str(), dir_.path("vm/link").c_str()), 0);
  ASSERT_EQ(::symlink(parent.c_str(), dir_.path("base/q.vhd").c_str()), 0);
  ASSERT_TRUE(make_snapshot({dir_.path("vm/link/q.vhd"), dir_.path("vm/c.vhd"), {}}, Format::vhd));
  EXPECT_EQ(layout_of(dir_.path("vm/c.vhd")).parents.candidates[0].path, "../base/q.vhd");
}

TEST_F(Snapshot, LeavesTheParentAsItWas) {
  const auto parent = make_parent("p.vhd");
  const auto before = test::file_bytes(parent);
  ASSERT_TRUE(make_snapshot({parent, dir_.path("c.vhd"), {}}, Format::vhd));
  EXPECT_EQ(test::file_bytes(parent), before);
}

TEST_F(Snapshot, RefusesAPathThatIsTaken) {
  const auto parent = make_parent("base/p.vhd");
  const auto taken = dir_.make_file("vm/c.vhd", 5, 'x');
  EXPECT_EQ(make_snapshot({parent, taken, {}}, Format::vhd).error(),
            (Error{Errc::io, EEXIST, taken}));
  EXPECT_EQ(std::filesystem::file_size(taken), 5U);
  EXPECT_EQ(files_in("vm"), std::vector<std::string>{"c.vhd"});
}

TEST_F(Snapshot, LeavesNothingBehindWhenItFails) {
  const auto parent = make_parent("base/\xff.vhd");
  const auto child = dir_.path("vm/c.vhd");
  EXPECT_EQ(make_snapshot({parent, child, {}}, Format::vhd).error(),
            (Error{Errc::bad_spec, 0,
                   child + ": the parent's path is not UTF-8, which the format needs"}));
  EXPECT_EQ(make_snapshot({make_parent("base/p.vhd"), child, 3000}, Format::vhd).error().code,
            Errc::bad_spec);
  EXPECT_TRUE(files_in("vm").empty());
}

TEST_F(Snapshot, DoesNotReplaceAFileThatAppearsMeanwhile) {
  const auto path = dir_.path("vm/c.vhd");
  const auto made = create_vhd_file(path, {.capacity = {8}});
  ASSERT_TRUE(made);
  EXPECT_EQ(create_vhd_file(path, {.capacity = {8}}).error(), (Error{Errc::io, EEXIST, path}));
  EXPECT_EQ(files_in("vm"), std::vector<std::string>{"c.vhd"});
}

TEST_F(Snapshot, RefusesAParentWithoutAnIdentity) {
  const auto parent = dir_.path("p.vhd");
  ASSERT_TRUE(create_vhd_file(parent, {.capacity = {8}, .uuid = Uuid{}}));
  EXPECT_EQ(make_snapshot({parent, dir_.path("c.vhd"), {}}, Format::vhd).error(),
            (Error{Errc::unsupported_image, 0,
                   parent + ": footer: the image has no unique id, so it cannot have a child "
                            "before it is repaired"}));
}

}  // namespace
}  // namespace xenblk::vhd
