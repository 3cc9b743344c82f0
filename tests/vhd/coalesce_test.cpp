// Merges on the host that were cut off: they are begun again, whatever was done already.
#include "vhd/operations/coalesce.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/image_registry.h"
#include "vhd/operations/copy.h"
#include "vhd/operations/host_images.h"
#include "vhd/operations/relink.h"
#include "vhd/operations/resize.h"
#include "vhd/operations/snapshot.h"
#include "vhd/operations/successor.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

constexpr std::uint64_t kSectors = 64;

// base.vhd <- middle.vhd <- leaf.vhd, each with sectors of its own.
class CutCoalesce : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd_file(path("base"), {.capacity = {kSectors}, .block_bytes = 4096}));
    ASSERT_TRUE(make_snapshot({path("base"), path("middle"), {}}, Format::vhd));
    ASSERT_TRUE(make_snapshot({path("middle"), path("leaf"), {}}, Format::vhd));
    put("base", 0, 1);
    put("middle", 20, 2);
    put("leaf", 40, 3);
  }
  std::string path(const std::string& name) const { return dir_.path(name + ".vhd"); }

  template <class Use>
  void use(const std::string& name, Use used) {
    ImageRegistry registry;
    auto image = registry.open({Format::vhd, path(name), {}}, Access::read_write);
    ASSERT_TRUE(image) << image.error().text;
    {
      test::FileEngine engine;
      used(test::BlockingDisk(**image, engine));
    }
    ASSERT_TRUE(registry.close(std::move(*image)));
  }
  void put(const std::string& name, std::uint64_t first, unsigned value) {
    use(name, [&](test::BlockingDisk disk) {
      EXPECT_EQ(disk.write(first, bytes_of(10, value)), IoStatus::okay);
    });
  }
  void expect_content(const std::string& name, unsigned at_40) {
    use(name, [&](test::BlockingDisk disk) {
      EXPECT_EQ(disk.read(0, 10).data, bytes_of(10, 1));
      EXPECT_EQ(disk.read(20, 10).data, bytes_of(10, 2));
      EXPECT_EQ(disk.read(40, 10).data, bytes_of(10, at_40));
    });
  }

  Error coalesce(const std::string& name) {
    const auto done = coalesce_host_image(path(name), {}, [](auto& child, auto& parent, auto&) {
      test::FileEngine engine;
      Copy copy(child, parent, engine, {.target_content = TargetContent::parent});
      copy.start();
      while (engine.poll()) {
      }
      return copy.result();
    });
    return done ? Error{} : done.error();
  }
  // As a kill within a change of parent leaves it: the header is another one, under its journal.
  void cut_relink(const std::string& child, const ParentLink& parent) {
    struct Kept final : MetadataStore {
      explicit Kept(std::string path) : file(std::move(path)) {}
      Expected<void> save(std::span<const std::byte> bytes) override { return file.save(bytes); }
      Expected<std::optional<std::vector<std::byte>>> load() override { return file.load(); }
      Expected<void> remove() override { return fail(Errc::io, "killed"); }
      MetadataFile file;
    } journal(resize_journal_path(path(child)));
    const auto file =
        std::move(open_host_file(path(child), {.access = Access::read_write}).value());
    EXPECT_EQ(relink_child(*file, parent, journal).error().text, "killed");
  }
  ParentLink link_to(const std::string& parent, const std::string& child) {
    const auto file = std::move(open_host_file(path(parent), {}).value());
    const auto facts = read_parent_facts(*file, Format::vhd).value();
    return parent_link(facts, {path(parent), path(child), {}}).value();
  }

  test::TempDir dir_;
};

TEST_F(CutCoalesce, BeforeTheChildIsRemovedIsCompletedByAnother) {
  ASSERT_EQ(::link(path("middle").c_str(), path("kept").c_str()), 0);
  ASSERT_EQ(coalesce("middle"), Error{});
  std::filesystem::rename(path("kept"), path("middle"));
  EXPECT_EQ(coalesce("middle"), Error{});
  EXPECT_FALSE(std::filesystem::exists(path("middle")));
  expect_content("leaf", 3);
}
TEST_F(CutCoalesce, BetweenChildrenOfTheChildIsCompletedByAnother) {
  ASSERT_TRUE(make_snapshot({path("middle"), path("other"), {}}, Format::vhd));
  put("other", 40, 4);
  std::filesystem::copy(path("other"), dir_.path("before"));
  ASSERT_EQ(::link(path("middle").c_str(), path("kept").c_str()), 0);
  ASSERT_EQ(coalesce("middle"), Error{});
  std::filesystem::rename(path("kept"), path("middle"));
  std::filesystem::rename(dir_.path("before"), path("other"));
  expect_content("other", 4);
  EXPECT_EQ(coalesce("middle"), Error{});
  expect_content("leaf", 3);
  expect_content("other", 4);
}
TEST_F(CutCoalesce, WithinAChangeOfParentIsCompletedByAnother) {
  cut_relink("leaf", link_to("base", "leaf"));
  EXPECT_EQ(coalesce("middle"), Error{});
  EXPECT_FALSE(std::filesystem::exists(path("middle")));
  expect_content("leaf", 3);
}
TEST_F(CutCoalesce, WithinAChangeOfAParentDoesNotStopTheDisk) {
  cut_relink("middle", {Uuid{std::byte{7}}, {}, {"elsewhere.vhd", "/elsewhere.vhd"}});
  expect_content("leaf", 3);
  EXPECT_FALSE(std::filesystem::exists(resize_journal_path(path("middle"))));
}
// base.vhd <- child.vhd, and in the same directory other.vhd, which is based on a raw disk.
class CoalesceBesideRaw : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_.make_file("disk", 100 * kSectorBytes);
    ASSERT_TRUE(make_snapshot({path("disk"), path("other.vhd"), {}}, Format::raw));
  }
  std::string path(const std::string& name) const { return dir_.path(name); }
  Error coalesce(const std::string& name) {
    const auto done = coalesce_host_image(path(name), {.raw_parents = true},
                                          [](auto&, auto&, auto&) { return Expected<void>{}; });
    return done ? Error{} : done.error();
  }
  void store_block(const std::string& name) {
    ImageRegistry registry({.raw_parents = true});
    auto image = registry.open({Format::vhd, path(name), {}}, Access::read_write).value();
    test::FileEngine engine;
    EXPECT_EQ(test::BlockingDisk(*image, engine).write(0, bytes_of(1, 9)), IoStatus::okay);
    ASSERT_TRUE(registry.close(std::move(image)));
  }
  void take_uuid(const std::string& name) {
    const auto file = std::move(open_host_file(path(name), {.access = Access::read_write}).value());
    auto footers = read_footers(*file).value();
    footers.chosen.uuid = {};
    const auto bytes = write_footer(footers.chosen);
    ASSERT_TRUE(file->write_at(0, bytes));
    ASSERT_TRUE(file->write_at(footers.end_offset, bytes));
  }
  test::TempDir dir_;
};

TEST_F(CoalesceBesideRaw, OfAChildWithoutAnIdLeavesChildrenOfRawDisksAlone) {
  ASSERT_TRUE(create_vhd_file(path("base.vhd"), {.capacity = {100}}));
  ASSERT_TRUE(make_snapshot({path("base.vhd"), path("child.vhd"), {}}, Format::vhd));
  take_uuid("child.vhd");
  const auto before = test::file_bytes(path("other.vhd"));
  EXPECT_EQ(coalesce("child.vhd"), Error{});
  EXPECT_FALSE(std::filesystem::exists(path("child.vhd")));
  EXPECT_TRUE(test::file_bytes(path("other.vhd")) == before);
}
TEST_F(CoalesceBesideRaw, OfARawDiskTellsItsChildrenFromThoseOfAnother) {
  dir_.make_file("disk-2", 100 * kSectorBytes);
  for (const auto* name : {"child.vhd", "twin.vhd"}) {
    ASSERT_TRUE(make_snapshot({path("disk-2"), path(name), {}}, Format::raw));
    store_block(name);
  }
  EXPECT_EQ(coalesce("child.vhd").text,
            path("disk-2") + ": is the parent of " + path("twin.vhd") + " too, which would change");
  std::filesystem::remove(path("twin.vhd"));
  EXPECT_EQ(coalesce("child.vhd").text, "");
  // Of a child whose parent is nowhere nobody knows whether it was this one.
  ASSERT_TRUE(make_snapshot({path("disk-2"), path("child.vhd"), {}}, Format::raw));
  store_block("child.vhd");
  std::filesystem::remove(path("disk"));
  EXPECT_EQ(coalesce("child.vhd").text, path("disk-2") + ": is the parent of " + path("other.vhd") +
                                            " too, which would change");
}
TEST(Coalesce, RefusesToUncoverWhatLiesBehindTheEndOfTheParent) {
  test::TempDir dir;
  const auto base = dir.path("base.vhd");
  const auto middle = dir.path("middle.vhd");
  const auto leaf = dir.path("leaf.vhd");
  ASSERT_TRUE(create_vhd_file(base, {.capacity = {200}}));
  ASSERT_TRUE(make_snapshot({base, middle, {}}, Format::vhd));
  ASSERT_TRUE(resize_host_image(middle, {100}));
  ASSERT_TRUE(make_snapshot({middle, leaf, {}}, Format::vhd));
  ASSERT_TRUE(resize_host_image(leaf, {150}));
  const auto before = test::file_bytes(middle);
  EXPECT_EQ(coalesce_host_image(leaf, {}, [](auto&, auto&, auto&) { return Expected<void>{}; })
                .error()
                .text,
            middle + ": has 100 sectors, and its parent more: grown to the 150 of " + leaf +
                " it would show them");
  EXPECT_TRUE(test::file_bytes(middle) == before);
}
TEST_F(CutCoalesce, OfWhatALiveSnapshotLeftMergesTheChildThatItsNoteNames) {
  ASSERT_TRUE(note_successor(path("middle"), path("leaf")));
  EXPECT_EQ(coalesce("leaf"), Error{});
  EXPECT_FALSE(std::filesystem::exists(path("leaf")));
  expect_content("middle", 3);
}
TEST_F(CutCoalesce, OfAParentWhoseDiskGoesOnElsewhereIsRefusedWithNothingChanged) {
  std::filesystem::create_directory(dir_.path("away"));
  ASSERT_TRUE(make_snapshot({path("middle"), path("away/child"), {}}, Format::vhd));
  ASSERT_TRUE(note_successor(path("middle"), path("away/child")));
  ASSERT_TRUE(resize_host_image(path("leaf"), {2 * kSectors}));
  const auto before = test::file_bytes(path("middle"));
  EXPECT_EQ(coalesce("leaf").text, path("middle") + ": is the parent of " + path("away/child") +
                                       " too, which would change");
  EXPECT_TRUE(test::file_bytes(path("middle")) == before);
}
TEST_F(CutCoalesce, WithinAChangeOfAParentGivesItNoNewChild) {
  cut_relink("middle", {Uuid{std::byte{7}}, {}, {"elsewhere.vhd", "/elsewhere.vhd"}});
  EXPECT_EQ(make_snapshot({path("middle"), path("new"), {}}, Format::vhd).error(),
            (Error{Errc::unsupported_image, 0,
                   path("middle") + ": a change of its metadata was interrupted: open the image "
                                    "for writing once, which undoes it"}));
}

}  // namespace
}  // namespace xenblk::vhd
