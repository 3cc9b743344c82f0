// A discard of a whole disk is one request, and reaches the image in pieces.
#include <boost/intrusive/parent_from_member.hpp>
#include <memory>
#include <vector>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;

// A disk of 8 TiB without content that notes what it is asked for. A request is done in the
// engine's next turn.
class VastImage final : public Image {
 public:
  struct Range {
    std::uint64_t first, count;
  };
  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override {
    if (request.op == ImageOp::discard) discards.push_back({request.first.n, request.count.n});
    request.status = discards.size() == fails_at ? failure : IoStatus::okay;
    request.task.run = [](Task& task) noexcept {
      auto& self = *boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
      self.done(self);
    };
    request.engine->post(request.task);
  }
  Expected<ImageExtent> extent_at(SectorIndex) override { return ImageExtent{}; }
  Expected<void> finish() override { return {}; }

  std::vector<Range> discards;
  std::size_t fails_at = 0;  // the nth discard
  IoStatus failure = IoStatus::okay;

 private:
  const ImageInfo info_{.format = "vast", .capacity = {std::uint64_t{1} << 34}, .discard = true};
};

class LargeDiscard : public OneQueue {
 protected:
  static constexpr std::uint64_t kPiece = kDiscardPieceSectors;
  std::shared_ptr<VastImage> image = std::make_shared<VastImage>();

  void SetUp() override { world.connect(queue.setup(image)); }
  FrontendRequest discard(std::uint64_t first, std::uint64_t count) {
    return {.op = wire(Op::discard),
            .id = queue.next_id++,
            .sector = {first},
            .discard_count = {count}};
  }
  // All sectors of the range once, in order.
  void expect_covered(std::uint64_t first, std::uint64_t count) {
    const auto end = first + count;
    for (const auto& [at, length] : image->discards) {
      ASSERT_EQ(at, first);
      ASSERT_LE(length, kPiece);
      first += length;
      ASSERT_TRUE(first % kPiece == 0 || first == end) << first;
    }
    EXPECT_EQ(first, end);
  }
};
XENBLK_FOR_ALL_LAYOUTS(LargeDiscard);

TEST_P(LargeDiscard, OfAWholeDiskIsAnsweredOnce) {
  const auto sectors = image->info().capacity.n;
  EXPECT_EQ(world.status(queue, discard(0, sectors)), Status::okay);
  EXPECT_EQ(image->discards.size(), sectors / kPiece);
  expect_covered(0, sectors);
  EXPECT_EQ(queue.counters->discards.get(), 1U);
  EXPECT_EQ(queue.counters->sectors_discarded.get(), sectors);
}

TEST_P(LargeDiscard, IsDividedAtMultiplesOfAPiece) {
  const auto first = kPiece - 3, count = 2 * kPiece + 8;
  EXPECT_EQ(world.status(queue, discard(first, count)), Status::okay);
  EXPECT_EQ(image->discards.size(), 4U);
  expect_covered(first, count);
}

TEST_P(LargeDiscard, OfOnePieceIsNotDivided) {
  EXPECT_EQ(world.status(queue, discard(kPiece, kPiece)), Status::okay);
  EXPECT_EQ(image->discards.size(), 1U);
}

TEST_P(LargeDiscard, LeavesTheWayFreeForOthers) {
  queue.send(discard(0, image->info().capacity.n));
  for (int turn = 0; turn < 10; ++turn) world.pass();
  const auto read = queue.send(queue.read(0, page.ref));
  for (int turn = 0; turn < 10; ++turn) world.pass();
  const auto responses = queue.take();
  ASSERT_EQ(responses.size(), 1U);
  EXPECT_EQ(responses[0].id, read);
  EXPECT_LT(image->discards.size(), 100U) << "and the discard goes on";
  world.settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(LargeDiscard, EndsWithTheFirstPieceThatFails) {
  image->fails_at = 3;
  image->failure = IoStatus::io_error;
  EXPECT_EQ(world.status(queue, discard(0, image->info().capacity.n)), Status::error);
  EXPECT_EQ(image->discards.size(), 3U);
  image->fails_at = 0;
  expect_alive();
}

TEST_P(LargeDiscard, IsUnsupportedWhereTheImageSaysSo) {
  image->fails_at = 1;
  image->failure = IoStatus::unsupported;
  EXPECT_EQ(world.status(queue, discard(0, image->info().capacity.n)), Status::eopnotsupp);
}

}  // namespace
}  // namespace xenblk::ringio::test
