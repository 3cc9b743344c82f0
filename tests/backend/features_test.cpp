// What a session may use beyond reads and writes of eleven pages: how it is offered, that it works
// end to end in every layout, and what happens to a guest that uses it without the offer.
#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

class Features : public LoopbackTest {
 protected:
  void restart(negotiation::Offer offer, ringio::WorkerOptions worker = {}) {
    end_host();
    offer.max_queues = 8;
    start_host({.offer = offer, .workers = 2, .worker = worker});
  }
  // Writes and reads back all of the disk in requests of this size.
  void expect_large_requests(std::uint32_t segments, std::uint64_t disk_bytes) {
    for (const auto op : {Op::write, Op::read}) {
      const auto request = std::uint64_t{segments} * kSectorsPerPage;
      const auto result = run_load(frontend_->queue(), {.op = op,
                                                        .content = loopback::Content::pattern,
                                                        .length = {disk_bytes / kSectorBytes},
                                                        .request = {request},
                                                        .depth = 4,
                                                        .requests = 16,
                                                        .seed = 5,
                                                        .patience = kPatience});
      EXPECT_TRUE(result.clean()) << result.violation.value_or("") << " failed " << result.failed
                                  << " mismatched " << result.mismatched << log_text();
    }
  }
};

class EveryLayout : public Features, public testing::WithParamInterface<Layout> {};
INSTANTIATE_TEST_SUITE_P(Features, EveryLayout,
                         testing::Values(Layout::native, Layout::x86_32, Layout::x86_64));

// --- indirect segments ---
TEST_P(EveryLayout, ServesRequestsOfOneMebibyte) {
  for (const auto& image : {raw_image(), vhd_image()}) {
    connect(disk(image), {.queue = {.layout = GetParam(), .depth = 8, .segments_max = 256}});
    EXPECT_EQ(frontend_->properties().indirect_segments_max, 256U);
    expect_large_requests(256, kDiskBytes);
    remove(disk(image));
  }
}

TEST_P(EveryLayout, ServesRequestsOfSixteenMebibytes) {
  restart({.max_indirect_segments = blkif::kMaxIndirectSegments});
  constexpr std::uint64_t kBytes = 64U << 20;
  const auto raw = disk("raw:" + directory_.make_file("large.raw", kBytes, 'r'));
  guest_ = xen_.create_domain({8}, 3 * blkif::kMaxIndirectSegments);
  auto large = raw;
  large.guest = {8};
  connect(large, {.queue = {.layout = GetParam(), .depth = 2, .segments_max = 4096}});
  expect_large_requests(4096, kBytes);
}

TEST_F(Features, OfferNoIndirectSegmentsWithoutTheMemory) {
  restart({}, {.arena_bytes = std::size_t{1} << 20});
  connect(disk(raw_image()), {.queue = {.segments_max = 256}});
  EXPECT_EQ(frontend_->properties().indirect_segments_max, 0U);
  expect_writes_and_reads(*frontend_);
}

TEST_F(Features, OfferAsManyIndirectSegmentsAsConfigured) {
  restart({.max_indirect_segments = 64});
  connect(disk(raw_image()));
  EXPECT_EQ(frontend_->properties().indirect_segments_max, 64U);
}

// --- discard ---
TEST_P(EveryLayout, ServesDiscards) {
  connect(disk("null:4M"), {.queue = {.layout = GetParam()}});
  EXPECT_TRUE(frontend_->properties().discard);
  expect_okay(frontend_->discard({0}, {kDiskBytes / kSectorBytes}));
  EXPECT_EQ(frontend_->discard({1}, {kDiskBytes / kSectorBytes}).value(), Status::error);
  EXPECT_EQ(frontend_->discard({8}, {~std::uint64_t{0}}).value(), Status::error);
  std::vector<std::byte> data(512);
  expect_okay(frontend_->read({0}, data));
}

TEST_F(Features, TellTheExtentsOfADiscard) {
  const auto null = disk("null:4M");
  connect(null);
  EXPECT_EQ(node(null, "feature-discard"), "1");
  EXPECT_EQ(node(null, "discard-granularity"), "512");
  EXPECT_EQ(node(null, "discard-alignment"), "0");
  EXPECT_EQ(node(null, "discard-secure"), "0");
}

TEST_F(Features, DiscardsAreNotOfferedWhereTheToolstackForbidsThem) {
  auto null = disk("null:4M");
  null.extra["discard-enable"] = "0";
  connect(null);
  EXPECT_FALSE(frontend_->properties().discard);
  EXPECT_EQ(frontend_->discard({0}, {8}).value(), Status::eopnotsupp);
  std::vector<std::byte> data(512);
  expect_okay(frontend_->read({0}, data));
}

TEST_F(Features, DiscardsAreNotOfferedOnAReadOnlyDisk) {
  auto null = disk("null:4M");
  null.mode = "r";
  null.extra["discard-enable"] = "1";
  connect(null);
  EXPECT_FALSE(frontend_->properties().discard);
  EXPECT_EQ(frontend_->discard({0}, {8}).value(), Status::eopnotsupp);
}

}  // namespace
}  // namespace xenblk::backend
