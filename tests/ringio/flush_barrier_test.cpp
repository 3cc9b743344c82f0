// Flushes and barriers: what the image is asked for, in which order, and what has to wait.
#include <gtest/gtest.h>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;
using enum ImageOp;
using Ops = std::vector<ImageOp>;

class FlushAndBarrier : public OneQueue {
 protected:
  void SetUp() override { connect(); }
  FrontendRequest barrier(std::uint64_t sector) {
    return queue.transfer(Op::write_barrier, sector, {{page.ref}});
  }
  FrontendRequest empty(Op op) { return queue.transfer(op, ~std::uint64_t{0}, {}); }
  void release_one() {
    world.image->release();
    world.settle();
  }
};
XENBLK_FOR_ALL_LAYOUTS(FlushAndBarrier);

TEST_P(FlushAndBarrier, AnEmptyFlushFlushes) {
  EXPECT_EQ(world.status(queue, empty(Op::flush_diskcache)), Status::okay);
  EXPECT_EQ(world.image->log(), (Ops{flush}));
  EXPECT_EQ(queue.counters->flushes.get(), 1U);
}
TEST_P(FlushAndBarrier, AnEmptyBarrierFlushes) {
  EXPECT_EQ(world.status(queue, empty(Op::write_barrier)), Status::okay);
  EXPECT_EQ(world.image->log(), (Ops{flush}));
  EXPECT_EQ(queue.counters->barriers.get(), 1U);
}
TEST_P(FlushAndBarrier, AFlushWithDataFlushesBeforeItsData) {
  const auto source = queue.page(Access::read_only, std::byte{0x42});
  const auto request = queue.transfer(Op::flush_diskcache, 16, {{source.ref}});
  EXPECT_EQ(world.status(queue, request), Status::okay);
  EXPECT_EQ(world.image->log(), (Ops{flush, write}));
  EXPECT_EQ(world.image->sectors(16, 8)[0], std::byte{0x42});
}
TEST_P(FlushAndBarrier, ABarrierWithDataFlushesOnBothSides) {
  const auto source = queue.page(Access::read_only, std::byte{0x43});
  EXPECT_EQ(world.status(queue, queue.transfer(Op::write_barrier, 24, {{source.ref}})),
            Status::okay);
  EXPECT_EQ(world.image->log(), (Ops{flush, write, flush}));
  EXPECT_EQ(world.image->sectors(24, 8)[0], std::byte{0x43});
}

TEST_P(FlushAndBarrier, ABarrierWaitsForAllBeforeItAndHoldsAllAfterIt) {
  world.image->hold();
  queue.put(queue.write(0, page.ref));
  queue.put(queue.read(8, page.ref));
  queue.put(barrier(16));
  queue.put(queue.write(24, page.ref));
  queue.push();
  world.settle();
  EXPECT_EQ(world.image->log(), (Ops{read, write})) << "reads need no data first";
  release_one();
  EXPECT_EQ(world.image->held(), 1U);
  release_one();
  EXPECT_EQ(world.image->log(), (Ops{read, write, flush}));
  release_one();
  release_one();
  EXPECT_EQ(world.image->log(), (Ops{read, write, flush, write, flush}));
  EXPECT_EQ(queue.take().size(), 2U) << "the barrier is not answered before its last flush";
  release_one();
  EXPECT_EQ(world.image->log(), (Ops{read, write, flush, write, flush, write}));
  release_one();
  EXPECT_EQ(queue.take().size(), 2U);
}

TEST_P(FlushAndBarrier, ABarrierHoldsOnlyItsOwnRing) {
  GuestQueue other(domain, GetParam());
  world.connect(other);
  world.image->hold();
  queue.put(queue.write(0, page.ref));
  queue.put(barrier(8));
  queue.push();
  other.send(other.write(16, page.ref));
  world.settle();
  EXPECT_EQ(world.image->held(), 2U);
}

TEST_P(FlushAndBarrier, BarriersOneAfterAnotherAllGetThrough) {
  for (int i = 0; i < 16; ++i) {
    queue.put(barrier(0));
    queue.put(empty(Op::write_barrier));
  }
  queue.push();
  world.settle();
  EXPECT_EQ(queue.take().size(), 32U);
}

TEST_P(FlushAndBarrier, ABarrierWhoseDataCannotBeReadLetsTheRingGoOn) {
  world.image->hold();
  queue.put(queue.write(0, page.ref));
  queue.put(queue.transfer(Op::write_barrier, 8, {{{31000}}}));
  queue.put(queue.write(16, page.ref));
  queue.push();
  world.settle();
  world.image->release_all();
  world.settle();
  const auto responses = queue.take();
  ASSERT_EQ(responses.size(), 3U);
  EXPECT_EQ(std::ranges::count(responses, Status::error, &RingResponse::status), 1);
  EXPECT_EQ(world.image->log(), (Ops{write, write}));
}

TEST_P(FlushAndBarrier, AFailureInTheMiddleOfABarrierEndsIt) {
  world.image->fail_next(IoStatus::io_error);
  EXPECT_EQ(world.status(queue, barrier(0)), Status::error);
  EXPECT_EQ(world.image->log(), (Ops{flush})) << "no data without the flush before it";
  expect_alive();
}

TEST_P(FlushAndBarrier, ADiscardReachesTheImage) {
  world.image->fill(std::byte{1});
  auto request = queue.transfer(Op::discard, 8, {});
  request.discard_count = {16};
  EXPECT_EQ(world.status(queue, request), Status::okay);
  EXPECT_EQ(world.image->sectors(8, 16)[0], std::byte{0});
  EXPECT_EQ(world.image->sectors(24, 1)[0], std::byte{1});
  EXPECT_EQ(queue.counters->sectors_discarded.get(), 16U);
}

// --- what was not offered ---
class NothingOffered : public OneQueue {};
XENBLK_FOR_ALL_LAYOUTS(NothingOffered);

TEST_P(NothingOffered, IsNotSupported) {
  auto setup = queue.setup(world.image);
  setup.offer_flush = setup.offer_barrier = setup.offer_discard = false;
  world.connect(std::move(setup));
  for (const auto op : {Op::flush_diskcache, Op::write_barrier, Op::discard}) {
    EXPECT_EQ(world.status(queue, queue.transfer(op, 0, {})), Status::eopnotsupp);
  }
  EXPECT_TRUE(world.image->log().empty());
}

}  // namespace
}  // namespace xenblk::ringio::test
