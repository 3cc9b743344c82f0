// What else happens to a block while a batch writes its bitmap.
#include "vhd/bitmap_commit.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "tests/vhd/vhd_maker.h"
#include "vhd/open_vhd.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

constexpr std::uint64_t kBlockSectors = 32;
constexpr std::uint64_t kBitmapBytes = 512;
constexpr std::uint64_t kTable = 1536;

// Keeps what a test wants to complete later.
class HoldingEngine final : public test::TestEngine {
 public:
  explicit HoldingEngine(test::SimEngine& engine) : engine_(engine) {}

  void submit(IoOp& op) noexcept override {
    if (is_held && is_held(op)) return held_.push_back(op);
    engine_.submit(op);
  }
  bool poll() override {
    const bool any = run_tasks();
    return engine_.poll() || any;
  }
  bool holds_any() const { return !held_.empty(); }
  void release() {
    is_held = {};
    IoOpList released;
    released.swap(held_);
    while (!released.empty()) {
      auto& op = released.front();
      released.pop_front();
      engine_.submit(op);
    }
  }

  std::function<bool(const IoOp&)> is_held;

 private:
  test::SimEngine& engine_;
  IoOpList held_;
};

struct Submitted : ImageRequest {
  Submitted(IoEngine& test_engine, ImageOp what, std::uint64_t from, std::uint64_t sectors)
      : buffer(sectors * kSectorBytes) {
    op = what;
    first = {from};
    count = {sectors};
    data = buffer.data();
    engine = &test_engine;
    done = [](ImageRequest& request) noexcept { static_cast<Submitted&>(request).answered = true; };
  }
  AlignedBuffer buffer;
  bool answered = false;
};

// Eight blocks that another program wrote, each without its last sector. The cache has two sets of
// four bitmaps, and the even blocks share one.
class BitmapBatch : public ::testing::Test {
 protected:
  static constexpr std::array<std::uint64_t, 8> kBlocks = {0, 1, 2, 3, 4, 5, 6, 8};

  BitmapBatch() {
    test::SimFile file(disk_, Access::read_write);
    test::VhdMaker maker(file, {.capacity = {10 * kBlockSectors}, .block_bytes = 16384});
    auto bits = std::vector<std::byte>(kBitmapBytes);
    set_bitmap_run(bits, 0, kBlockSectors - 1);
    for (const auto block : kBlocks) maker.add_block(block, bits, {});
    maker.close();
    image_ =
        open_vhd_image(std::make_unique<test::SimFile>(disk_, Access::read_write), 512).value();
  }
  static std::uint64_t missing_sector(std::uint64_t block) {
    return (block + 1) * kBlockSectors - 1;
  }
  std::uint64_t bitmap_offset(std::uint64_t block) {
    std::array<std::byte, 4> entry;
    test::SimFile file(disk_, Access::read_only);
    EXPECT_TRUE(file.read_at(kTable + block * 4, entry));
    return std::uint64_t{load_big_endian<std::uint32_t>(entry, 0)} * kSectorBytes;
  }
  void hold_bitmap_of(std::uint64_t block) {
    engine_.is_held = [offset = bitmap_offset(block)](const IoOp& op) {
      return op.kind == IoKind::write && op.offset == offset;
    };
  }
  void run() {
    while (engine_.poll()) {
    }
  }
  test::BlockingDisk guest() { return {*image_, engine_}; }

  // Two writes come together while a batch is under way. Of theirs, the bitmap of block 0 is
  // written, and is complete; what the memory knows of it goes; and the guest discards the block.
  void give_up_block_0() {
    Submitted first(engine_, ImageOp::write, missing_sector(3), 1);
    hold_bitmap_of(3);
    image_->submit(first);
    run();
    image_->submit(fast_);
    image_->submit(slow_);
    run();
    engine_.release();
    hold_bitmap_of(1);
    run();
    ASSERT_TRUE(first.answered && engine_.holds_any());
    for (const auto other : {2, 4, 6, 8}) {
      EXPECT_EQ(guest().read(missing_sector(other), 1).data, bytes_of(1, 0));
    }
    image_->submit(discard_);
    run();
    ASSERT_EQ(image_->extent_at({0}).value().kind, ImageExtent::Kind::zero);
  }
  void end_batch() {
    engine_.release();
    run();
    for (const auto* one : {&fast_, &slow_, &discard_}) {
      EXPECT_TRUE(one->answered);
      EXPECT_EQ(one->status, IoStatus::okay);
    }
  }

  test::SimDisk disk_{1};
  test::SimEngine sim_{disk_};
  HoldingEngine engine_{sim_};
  std::unique_ptr<Image> image_;
  Submitted fast_{engine_, ImageOp::write, missing_sector(0), 1};
  Submitted slow_{engine_, ImageOp::write, missing_sector(1), 1};
  Submitted discard_{engine_, ImageOp::discard, 0, kBlockSectors};
};

TEST_F(BitmapBatch, EndsForABlockThatWasGivenUpMeanwhile) {
  give_up_block_0();
  end_batch();
  EXPECT_EQ(guest().read(0, kBlockSectors).data, bytes_of(kBlockSectors, 0));
  EXPECT_TRUE(image_->finish());
}

TEST_F(BitmapBatch, EndsForABlockThatHasAnotherPlaceMeanwhile) {
  give_up_block_0();
  EXPECT_EQ(guest().write(3, bytes_of(1, 7)), IoStatus::okay);
  end_batch();
  auto expected = bytes_of(kBlockSectors, 0);
  std::ranges::copy(bytes_of(1, 7), expected.begin() + 3 * kSectorBytes);
  EXPECT_EQ(guest().read(0, kBlockSectors).data, expected);
  EXPECT_TRUE(image_->finish());
}

}  // namespace
}  // namespace xenblk::vhd
