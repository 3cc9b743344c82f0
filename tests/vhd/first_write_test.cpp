// The first write to a block of a dynamic image: its data, its bitmap and the table all at once,
// and what is left when one of them fails.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/vhd/blocking_disk.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/create.h"
#include "vhd/open_vhd.h"
#include "vhd/operations/check.h"
#include "vhd/slot_allocator.h"

namespace xenblk::vhd {
namespace {

using test::Bytes;
using test::bytes_of;

constexpr std::uint64_t kBlockSectors = 32;
constexpr std::uint64_t kSectors = 640;

class FirstWrite : public ::testing::Test {
 protected:
  FirstWrite() {
    test::SimFile file(disk_, Access::read_write);
    EXPECT_TRUE(create_vhd(file, {.capacity = {kSectors}, .block_bytes = kBlockSectors * 512}));
    image_ = open(disk_, Access::read_write);
    // The footer moves for the first block, and not for the next.
    EXPECT_EQ(guest().write(0, bytes_of(1, 9)), IoStatus::okay);
  }

  static std::unique_ptr<Image> open(test::SimDisk& disk, Access access) {
    return open_vhd_image(std::make_unique<test::SimFile>(disk, access), 512).value();
  }
  test::BlockingDisk guest() { return {*image_, engine_}; }
  Bytes read(std::uint64_t sector) { return guest().read(sector, 1).data; }

  // The operation that completes so many after this one fails.
  void fail_operation(int number) {
    disk_.fault = [number](const IoOp&) mutable { return number-- == 0 ? EIO : 0; };
  }

  // The daemon dies and another program opens the file.
  Bytes read_after_kill(std::uint64_t sector) {
    auto& contents = disk_.kill();
    test::SimDisk after(1, contents);
    disk_.crash_over();
    test::SimFile file(after, Access::read_only);
    EXPECT_FALSE(check_image(file).value().has_errors());
    const auto image = open(after, Access::read_only);
    test::SimEngine engine(after);
    return test::BlockingDisk(*image, engine).read(sector, 1).data;
  }

  test::SimDisk disk_{1};
  test::SimEngine engine_{disk_};
  std::unique_ptr<Image> image_;
};

struct Submitted : ImageRequest {
  Submitted(test::TestEngine& test_engine, std::uint64_t sector) {
    op = ImageOp::write;
    first = {sector};
    count = {1};
    data = buffer.data();
    engine = &test_engine;
    done = [](ImageRequest& request) noexcept { static_cast<Submitted&>(request).answered = true; };
  }
  AlignedBuffer buffer{kSectorBytes};
  bool answered = false;
};

TEST_F(FirstWrite, SubmitsDataBitmapAndTableAtOnce) {
  Submitted request(engine_, kBlockSectors + 3);
  image_->submit(request);
  EXPECT_EQ(engine_.in_flight(), 3U);
  for (int left = 3; left > 0; --left) {
    EXPECT_FALSE(request.answered) << left << " operations are not complete";
    while (engine_.in_flight() == static_cast<std::size_t>(left)) engine_.poll();
  }
  while (engine_.poll()) {
  }
  EXPECT_TRUE(request.answered);
}

TEST_F(FirstWrite, WritesTheBitmapWithDataThatFollowsIt) {
  Submitted request(engine_, kBlockSectors);
  image_->submit(request);
  EXPECT_EQ(engine_.in_flight(), 2U);
  while (engine_.poll()) {
  }
  EXPECT_TRUE(request.answered);
}

TEST_F(FirstWrite, LeavesABlockOfZeroesWhateverPartFails) {
  for (int part = 0; part < 3; ++part) {
    SCOPED_TRACE(part);
    const auto sector = (2 + static_cast<std::uint64_t>(part)) * kBlockSectors + 3;
    fail_operation(part);
    EXPECT_EQ(guest().write(sector, bytes_of(1, 1)), IoStatus::io_error);
    EXPECT_EQ(read(sector), bytes_of(1, 0));
    const auto left = read_after_kill(sector);
    EXPECT_TRUE(left == bytes_of(1, 0) || left == bytes_of(1, 1));
  }
}

TEST_F(FirstWrite, GivesNoOtherBlockThePlaceOfOneThatTheTableMayTellOf) {
  for (int part = 0; part < 3; ++part) {
    SCOPED_TRACE(part);
    const auto block = 2 * (1 + static_cast<std::uint64_t>(part));
    const auto sector = block * kBlockSectors + 3;
    fail_operation(part);
    EXPECT_EQ(guest().write(sector, bytes_of(1, 1)), IoStatus::io_error);
    // Its table write fails too, so nothing takes the first one's entry out of the table.
    disk_.fault = [](const IoOp& op) {
      return op.kind == IoKind::write && op.offset < 4096 ? EIO : 0;
    };
    EXPECT_EQ(guest().write(sector + kBlockSectors, bytes_of(1, 2)), IoStatus::io_error);
    disk_.fault = {};
    const auto left = read_after_kill(sector);
    EXPECT_TRUE(left == bytes_of(1, 0) || left == bytes_of(1, 1));
  }
}

TEST_F(FirstWrite, CanBeRepeatedAndUsesUpNoRoom) {
  for (int attempt = 0; attempt < 300; ++attempt) {
    fail_operation(attempt % 3);
    ASSERT_EQ(guest().write(kBlockSectors + 3, bytes_of(1, 1)), IoStatus::io_error);
  }
  disk_.fault = {};
  const auto size = disk_.content().size_bytes();
  EXPECT_EQ(guest().write(kBlockSectors + 8, bytes_of(1, 2)), IoStatus::okay);
  EXPECT_EQ(read(kBlockSectors + 3), bytes_of(1, 0)) << "of an attempt that failed";
  EXPECT_EQ(read_after_kill(kBlockSectors + 3), bytes_of(1, 0));
  EXPECT_EQ(read_after_kill(kBlockSectors + 8), bytes_of(1, 2));
  EXPECT_EQ(disk_.content().size_bytes(), size);
  EXPECT_LT(size, 1U << 20) << "with one place an attempt there would be 300 blocks of 16 KiB";
  EXPECT_TRUE(image_->finish());
}

TEST(SlotAllocator, GrowsAFileByHalfWithinLimits) {
  const auto growth_mib = [](std::uint64_t footer_offset) {
    const SlotAllocator slots({2U << 20},
                              {.footer_offset = footer_offset, .extent_bytes = 64U << 20});
    return slots.next_extent(100'000).value().slots.bytes >> 20;
  };
  EXPECT_EQ(growth_mib(4096), 62U) << "31 slots of a page more than a block";
  EXPECT_EQ(growth_mib(std::uint64_t{1} << 30), 510U);
  EXPECT_EQ(growth_mib(std::uint64_t{16} << 30), 4095U);
}

}  // namespace
}  // namespace xenblk::vhd
