// A merge of a running disk as the registry sees it: who may use the files meanwhile, and what is
// left when it does not come to its end.
#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/temp_dir.h"
#include "vhd/create.h"
#include "vhd/image_registry.h"
#include "vhd/merging_image.h"
#include "vhd/operations/snapshot.h"
#include "vhd/operations/successor.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

class ImageMerge : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(create_vhd_file(parent_, {.capacity = {64}, .block_bytes = 4096}));
    ASSERT_TRUE(make_snapshot({parent_, child_, {}}, Format::vhd));
    ASSERT_TRUE(note_successor(parent_, child_));
  }

  static Expected<std::shared_ptr<Image>> open_in(ImageRegistry& registry, const std::string& path,
                                                  Access access) {
    return registry.open({Format::vhd, path, {}}, access);
  }
  std::shared_ptr<Image> open(const std::string& path, Access access) {
    return open_in(registry_, path, access).value();
  }
  Error open_error(ImageRegistry& registry, const std::string& path, Access access) {
    auto image = open_in(registry, path, access);
    if (!image) return image.error();
    EXPECT_TRUE(registry.close(std::move(*image)));
    return {};
  }
  void close(std::shared_ptr<Image>& image) { EXPECT_TRUE(registry_.close(std::move(image))); }

  std::shared_ptr<Image> begin_merge(std::shared_ptr<Image>&& child) {
    auto parent = registry_.open_merge_parent(child).value();
    auto changed = registry_.begin_merge(std::move(child), std::move(parent));
    EXPECT_TRUE(changed.outcome);
    return std::move(changed.image);
  }
  static void wait_for_merge(Image& merging) {
    std::promise<Expected<void>> ended;
    dynamic_cast<MergingImage&>(merging).start(
        {}, [&](const Expected<void>& result) { ended.set_value(result); });
    EXPECT_TRUE(ended.get_future().get());
  }
  void write(Image& image, std::uint64_t first, unsigned value) {
    EXPECT_EQ(test::BlockingDisk(image, engine_).write(first, bytes_of(1, value)), IoStatus::okay);
  }
  test::Bytes read(Image& image, std::uint64_t first) {
    return test::BlockingDisk(image, engine_).read(first, 1).data;
  }
  Error goes_on_in_child() const {
    return {Errc::refused, 0,
            parent_ + ": is the parent of a snapshot now, and its disk goes on in " + child_};
  }

  test::TempDir dir_;
  const std::string parent_ = dir_.path("parent.vhd");
  const std::string child_ = dir_.path("child.vhd");
  test::FileEngine engine_;
  ImageRegistry registry_;
};

TEST_F(ImageMerge, LeavesTheParentToBeWrittenWhenTheChildIsNotDeleted) {
  auto merging = begin_merge(open(child_, Access::read_write));
  write(*merging, 3, 9);
  wait_for_merge(*merging);
  EXPECT_TRUE(registry_.settle_merge(merging));
  std::filesystem::create_hard_link(child_, dir_.path("kept.vhd"));
  auto ended = registry_.end_merge(std::move(merging));
  close(ended.image);
  std::filesystem::rename(dir_.path("kept.vhd"), child_);
  ImageRegistry next;
  auto parent = open_in(next, parent_, Access::read_write);
  ASSERT_TRUE(parent) << parent.error().text;
  EXPECT_EQ(read(**parent, 3), bytes_of(1, 9));
  EXPECT_TRUE(next.close(std::move(*parent)));
}

TEST_F(ImageMerge, KeepsTheParentFromBeingWrittenUntilItIsSettledAndWhenItIsGivenUp) {
  ImageRegistry next;
  auto merging = begin_merge(open(child_, Access::read_write));
  close(merging);
  EXPECT_EQ(open_error(next, parent_, Access::read_write), goes_on_in_child());
  merging = begin_merge(open(child_, Access::read_write));
  wait_for_merge(*merging);
  EXPECT_TRUE(registry_.settle_merge(merging));
  auto given_up = registry_.abort_merge(std::move(merging));
  EXPECT_TRUE(given_up.outcome);
  close(given_up.image);
  EXPECT_EQ(open_error(next, parent_, Access::read_write), goes_on_in_child());
}

TEST_F(ImageMerge, EndsInTheParentForItsReadersToo) {
  auto child = open(child_, Access::read_write);
  auto reader = open(child_, Access::read_only);
  close(reader);
  auto merging = begin_merge(std::move(child));
  wait_for_merge(*merging);
  EXPECT_TRUE(registry_.settle_merge(merging));
  auto ended = registry_.end_merge(std::move(merging));
  EXPECT_TRUE(ended.outcome);
  reader = open(parent_, Access::read_only);
  write(*ended.image, 3, 9);
  EXPECT_EQ(read(*reader, 3), bytes_of(1, 9));
  close(reader);
  close(ended.image);
}

TEST_F(ImageMerge, HasNoOtherUser) {
  auto merging = begin_merge(open(child_, Access::read_write));
  const Error busy{Errc::locked, 0, child_ + ": is being merged into its parent"};
  EXPECT_EQ(open_error(registry_, child_, Access::read_only), busy);
  EXPECT_EQ(open_error(registry_, child_, Access::read_write), busy);
  close(merging);
}

TEST_F(ImageMerge, ThatIsNotBegunLeavesTheParentLockedAndKnown) {
  auto child = open(child_, Access::read_write);
  auto parent = registry_.open_merge_parent(child).value();
  auto reader = open(child_, Access::read_only);
  auto refused = registry_.begin_merge(std::move(child), std::move(parent));
  EXPECT_EQ(refused.outcome.error(), (Error{Errc::refused, 0, "another disk uses it too"}));
  EXPECT_EQ(open_error(registry_, parent_, Access::read_write),
            (Error{Errc::locked, 0, parent_ + ": in use as the parent of another image"}));
  ImageRegistry other;
  EXPECT_EQ(open_error(other, parent_, Access::read_write),
            (Error{Errc::locked, EAGAIN, parent_ + ": locked by another process"}));
  close(reader);
  auto merging = begin_merge(std::move(refused.image));
  close(merging);
}

}  // namespace
}  // namespace xenblk::vhd
