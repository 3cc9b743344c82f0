// Children that are given another parent.
#include "vhd/operations/relink.h"

#include <gtest/gtest.h>

#include "tests/vhd/memory_store.h"
#include "tests/vhd/random_image.h"
#include "vhd/operations/check.h"
#include "vhd/operations/resize.h"

namespace xenblk::vhd {
namespace {

using power_cut::SimContents;
using test::SimDisk;
using test::SimFile;

const ParentLink kOld{Uuid{std::byte{1}}, {5}, {"old.vhd", "/srv/old.vhd"}};
const ParentLink kNew{
    Uuid{std::byte{2}}, {6}, {"../a folder of quite some length/new.vhd", "/srv/new.vhd"}};

class Relink : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd(file_, {.capacity = {1000},
                                   .type = DiskType::differencing,
                                   .block_bytes = 4096,
                                   .parent = kOld,
                                   .uuid = Uuid{std::byte{9}}}));
  }
  static std::string parent_of(SimDisk& disk) {
    const auto layout = test::layout_on(disk);
    if (!layout.warnings.empty()) return layout.warnings[0].text;
    const auto& path = layout.parents.candidates.at(0).path;
    if (path == kOld.place.relative_path && layout.header.parent_uuid == kOld.uuid) return "old";
    if (path == kNew.place.relative_path && layout.header.parent_uuid == kNew.uuid) return "new";
    return path;
  }
  SimDisk disk_{4};
  SimFile file_{disk_, Access::read_write};
  test::MemoryStore journal_;
};

TEST_F(Relink, NamesTheNewParentInAllWays) {
  ASSERT_TRUE(relink_child(file_, kNew, journal_));
  EXPECT_EQ(parent_of(disk_), "new");
  const auto layout = test::layout_on(disk_);
  EXPECT_EQ(layout.header.parent_changed, VhdTime{6});
  EXPECT_EQ(layout.locators.size(), 3U);
  EXPECT_FALSE(check_image(file_)->has_errors());
  EXPECT_FALSE(journal_.saved);
}
TEST_F(Relink, CanBeDoneAgainAndAgain) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(relink_child(file_, kNew, journal_));
    EXPECT_EQ(parent_of(disk_), "new");
    ASSERT_TRUE(relink_child(file_, kOld, journal_));
    EXPECT_EQ(parent_of(disk_), "old");
  }
}
// The test of the test: the header has two sectors, and a cut may leave one of each.
TEST_F(Relink, NeedsItsJournal) {
  ASSERT_TRUE(file_.sync_data());
  int broken = 0;
  disk_.on_change = [&] {
    for (int i = 0; i < 200; ++i) {
      SimDisk after(1, test::after_power_cut(disk_));
      SimFile file(after, Access::read_only);
      broken += !read_vhd_layout(file, read_footers(file).value()).has_value();
    }
  };
  ASSERT_TRUE(relink_child(file_, kNew, journal_));
  EXPECT_GT(broken, 0);
}
TEST_F(Relink, RefusesWhatIsNoChild) {
  SimDisk disk(1);
  SimFile file(disk, Access::read_write);
  ASSERT_TRUE(create_vhd(file, {.capacity = {1000}}));
  EXPECT_EQ(relink_child(file, kNew, journal_).error(),
            (Error{Errc::refused, 0, "footer: not a differencing image, so it has no parent"}));
}

}  // namespace
}  // namespace xenblk::vhd
