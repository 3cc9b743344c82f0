// A child that is merged into its parent while it is written: what waits for the copy, what goes to
// both, and what is left when something fails.
#include "vhd/merging_image.h"

#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "tests/vhd/test_engine.h"
#include "vhd/request.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint64_t kSectors = 8192;  // four copies
constexpr std::uint64_t kCopySectors = 2048;

// A disk in memory that can be kept from answering, and that answers as it is told.
class MemoryDisk final : public Image {
 public:
  explicit MemoryDisk(char fill) : bytes_(kSectors * kSectorBytes, static_cast<std::byte>(fill)) {}
  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override {
    begin(request);
    std::unique_lock lock(mutex_);
    // A guest's requests never wait here: its thread is the test's.
    const bool of_merge = dynamic_cast<BlockingEngine*>(request.engine) != nullptr;
    if (of_merge && request.op == ImageOp::write) {
      ++held_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      --held_;
    }
    const auto offset = request.first.n * kSectorBytes;
    const auto bytes = request.count.n * kSectorBytes;
    if (request.op == ImageOp::read) std::memcpy(request.data, bytes_.data() + offset, bytes);
    if (request.op == ImageOp::write && write_status_ == IoStatus::okay) {
      std::memcpy(bytes_.data() + offset, request.data, bytes);
    }
    const bool writes = request.op == ImageOp::write;
    answer_later(request, writes ? write_status_ : IoStatus::okay);
  }
  Expected<ImageExtent> extent_at(SectorIndex first) override {
    return ImageExtent{.count = {kSectors - first.n}, .level = stored_ ? 0U : 1U};
  }
  Expected<void> finish() override { return {}; }

  void hold() { set(open_, false); }
  void let_go() { set(open_, true); }
  void wait_until_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_ > 0; });
  }
  void answer_writes(IoStatus status) { set(write_status_, status); }
  void stores_nothing() { stored_ = false; }
  std::byte at(std::uint64_t sector) {
    const std::lock_guard lock(mutex_);
    return bytes_[sector * kSectorBytes];
  }

 private:
  template <class T>
  void set(T& what, T value) {
    const std::lock_guard lock(mutex_);
    what = value;
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int held_ = 0;
  bool stored_ = true;
  IoStatus write_status_ = IoStatus::okay;
  std::vector<std::byte> bytes_;
  const ImageInfo info_{.format = "memory", .capacity = {kSectors}, .access = Access::read_write};
};

class MergingImageTest : public ::testing::Test {
 protected:
  struct Request : ImageRequest {
    bool answered = false;
  };
  void start() {
    merging_.start({}, [this](Expected<void> ended) { ended_.set_value(std::move(ended)); });
  }
  Expected<void> ended() { return ended_.get_future().get(); }
  Request& submit(Request& request, ImageOp op, std::uint64_t first, std::uint64_t count) {
    request.op = op;
    request.first = {first};
    request.count = {count};
    request.data = data_.data();
    request.engine = &engine_;
    request.done = [](ImageRequest& done) noexcept { static_cast<Request&>(done).answered = true; };
    merging_.submit(request);
    return request;
  }
  Request& write(Request& request, std::uint64_t first, std::uint64_t count, char fill) {
    std::ranges::fill(data_, static_cast<std::byte>(fill));
    return submit(request, ImageOp::write, first, count);
  }
  void wait_for(const Request& request) {
    while (!request.answered) engine_.poll();
  }
  void poll() {
    for (int i = 0; i < 10; ++i) engine_.poll();
  }

  std::shared_ptr<MemoryDisk> child_ = std::make_shared<MemoryDisk>('c');
  std::shared_ptr<MemoryDisk> parent_ = std::make_shared<MemoryDisk>('p');
  test::FileEngine engine_;
  std::vector<std::byte> data_ = std::vector<std::byte>(kSectors * kSectorBytes);
  std::promise<Expected<void>> ended_;
  MergingImage merging_{child_, parent_};
};

TEST_F(MergingImageTest, CopiesWhatTheChildStores) {
  start();
  EXPECT_TRUE(ended().has_value());
  EXPECT_EQ(parent_->at(0), std::byte{'c'});
  EXPECT_EQ(parent_->at(kSectors - 1), std::byte{'c'});
  EXPECT_EQ(merging_.progress()->sectors_done, kSectors);
  EXPECT_EQ(merging_.progress()->sectors_copied, kSectors);
}

TEST_F(MergingImageTest, LeavesTheRestOfTheParent) {
  child_->stores_nothing();
  start();
  EXPECT_TRUE(ended().has_value());
  EXPECT_EQ(parent_->at(0), std::byte{'p'});
  EXPECT_EQ(merging_.progress()->sectors_done, kSectors);
  EXPECT_EQ(merging_.progress()->sectors_copied, 0U);
}

TEST_F(MergingImageTest, AWriteToWhatIsBeingCopiedWaitsForTheCopy) {
  parent_->hold();
  start();
  parent_->wait_until_held();
  Request within;
  write(within, kCopySectors - 1, 1, 'x');
  poll();
  EXPECT_FALSE(within.answered);
  EXPECT_EQ(child_->at(kCopySectors - 1), std::byte{'c'});
  parent_->let_go();
  wait_for(within);
  EXPECT_TRUE(ended().has_value());
  EXPECT_EQ(within.status, IoStatus::okay);
  EXPECT_EQ(child_->at(kCopySectors - 1), std::byte{'x'});
  EXPECT_EQ(parent_->at(kCopySectors - 1), std::byte{'x'});
}

TEST_F(MergingImageTest, AWriteBeyondTheCopyGoesOnAndIsCopiedLater) {
  parent_->hold();
  start();
  parent_->wait_until_held();
  Request beyond;
  wait_for(write(beyond, kCopySectors, 1, 'x'));
  EXPECT_EQ(child_->at(kCopySectors), std::byte{'x'});
  EXPECT_EQ(parent_->at(kCopySectors), std::byte{'p'});
  parent_->let_go();
  EXPECT_TRUE(ended().has_value());
  EXPECT_EQ(parent_->at(kCopySectors), std::byte{'x'});
}

TEST_F(MergingImageTest, AWriteToWhatWasCopiedGoesToBoth) {
  start();
  EXPECT_TRUE(ended().has_value());
  Request late;
  wait_for(write(late, 5, 1, 'x'));
  EXPECT_EQ(child_->at(5), std::byte{'x'});
  EXPECT_EQ(parent_->at(5), std::byte{'x'});
  EXPECT_TRUE(merging_.settle().has_value());
}

TEST_F(MergingImageTest, WritesThatOverlapReachBothInOneOrder) {
  start();
  EXPECT_TRUE(ended().has_value());
  Request first, second;
  write(first, 5, 3, 'x');
  submit(second, ImageOp::write, 7, 3);
  engine_.poll();
  EXPECT_FALSE(second.answered);
  EXPECT_EQ(child_->at(9), std::byte{'c'}) << "the second waits until the first is in both";
  wait_for(first);
  wait_for(second);
  EXPECT_EQ(parent_->at(9), std::byte{'x'});
}

TEST_F(MergingImageTest, TheGuestDoesNotSeeThatTheParentFails) {
  start();
  EXPECT_TRUE(ended().has_value());
  parent_->answer_writes(IoStatus::no_space);
  Request late;
  wait_for(write(late, 5, 1, 'x'));
  EXPECT_EQ(late.status, IoStatus::okay);
  EXPECT_EQ(child_->at(5), std::byte{'x'});
  EXPECT_EQ(merging_.settle().error(), (Error{Errc::io, 0, "no space for the parent"}));
}

TEST_F(MergingImageTest, EndsWhenTheParentCannotBeWritten) {
  parent_->answer_writes(IoStatus::io_error);
  start();
  EXPECT_EQ(ended().error(), (Error{Errc::io, 0, "the parent cannot be written"}));
}

TEST_F(MergingImageTest, EndsWhenAWriteToTheChildFails) {
  start();
  EXPECT_TRUE(ended().has_value());
  child_->answer_writes(IoStatus::io_error);
  Request late;
  wait_for(write(late, 5, 1, 'x'));
  EXPECT_EQ(late.status, IoStatus::io_error);
  EXPECT_EQ(merging_.settle().error(),
            (Error{Errc::io, 0, "a write of the guest to the child failed"}));
}

TEST_F(MergingImageTest, IsCutOffByItsEnd) {
  parent_->hold();
  start();
  parent_->wait_until_held();
  auto finished = std::async(std::launch::async, [&] { return merging_.finish(); });
  parent_->let_go();
  EXPECT_TRUE(finished.get().has_value());
  const auto how = ended();
  // It may have been faster.
  if (!how) {
    EXPECT_EQ(how.error(), (Error{Errc::closed, 0, "the image was closed before all was merged"}));
  }
}

TEST_F(MergingImageTest, DiscardsNothingAndRefusesWhatNoDiskHas) {
  Request discard, zeroes, outside;
  wait_for(submit(discard, ImageOp::discard, 0, 8));
  EXPECT_EQ(discard.status, IoStatus::okay);
  EXPECT_EQ(child_->at(0), std::byte{'c'});
  wait_for(submit(zeroes, ImageOp::write_zeroes, 0, 8));
  EXPECT_EQ(zeroes.status, IoStatus::unsupported);
  wait_for(submit(outside, ImageOp::discard, kSectors, 8));
  EXPECT_EQ(outside.status, IoStatus::out_of_range);
}

}  // namespace
}  // namespace xenblk::vhd
