// Histograms, and what goes into them.
#include "ringio/latency.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/ringio/core_world.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;

TEST(LatencyHistogram, PutsEveryValueBetweenTheBoundsOfItsBucket) {
  for (std::uint64_t ns = 1; ns < (std::uint64_t{1} << 34); ns += ns / 7 + 1) {
    const auto bucket = LatencyHistogram::bucket_of(ns);
    ASSERT_LT(ns, LatencyHistogram::end_ns(bucket)) << ns;
    ASSERT_GE(ns, bucket == 0 ? 0 : LatencyHistogram::end_ns(bucket - 1)) << ns;
  }
}

TEST(LatencyHistogram, KeepsWhatIsOutsideInTheFirstAndTheLastBucket) {
  constexpr auto kLast = LatencyHistogram::kBuckets - 1;
  EXPECT_EQ(LatencyHistogram::bucket_of(0), 0U);
  EXPECT_EQ(LatencyHistogram::bucket_of(1023), 0U);
  EXPECT_EQ(LatencyHistogram::bucket_of(1024), 1U);
  EXPECT_EQ(LatencyHistogram::bucket_of(LatencyHistogram::end_ns(kLast - 1) - 1), kLast - 1);
  EXPECT_EQ(LatencyHistogram::bucket_of(LatencyHistogram::end_ns(kLast - 1)), kLast);
  EXPECT_EQ(LatencyHistogram::bucket_of(~std::uint64_t{0}), kLast);
}

TEST(LatencyHistogram, IsNeverMoreThanAQuarterOff) {
  for (std::size_t bucket = 1; bucket + 1 < LatencyHistogram::kBuckets; ++bucket) {
    const auto begin = LatencyHistogram::end_ns(bucket - 1);
    ASSERT_LE(LatencyHistogram::end_ns(bucket) - begin, begin / 4);
  }
}

std::uint64_t count(const LatencyHistogram& histogram) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) sum += histogram.count(i);
  return sum;
}

class Latency : public OneQueue {
 protected:
  void SetUp() override {
    connect();
    world.settle();
    world.image->hold();
  }
  // Sends one that stays at the image for so long.
  void take_at_image(const FrontendRequest& request, std::chrono::nanoseconds time) {
    queue.send(request);
    world.settle();
    world.clock.advance(time);
    world.image->release_all();
    world.settle();
    EXPECT_EQ(queue.take().size(), 1U);
  }
  const Latencies& latencies() const { return queue.counters->latencies; }
};
XENBLK_FOR_ALL_LAYOUTS(Latency);

const LatencyHistogram& of(const std::array<LatencyHistogram, kPhases>& all, Phase phase) {
  return all[static_cast<std::size_t>(phase)];
}

TEST_P(Latency, OfAReadIsFoundAtTheImage) {
  take_at_image(queue.read(0, page.ref), std::chrono::milliseconds(3));
  EXPECT_EQ(of(latencies().read, Phase::image).sum_ns(), 3'000'000U);
  EXPECT_EQ(of(latencies().read, Phase::total).sum_ns(), 3'000'000U);
  EXPECT_EQ(of(latencies().read, Phase::total).count(LatencyHistogram::bucket_of(3'000'000)), 1U);
  EXPECT_EQ(count(of(latencies().read, Phase::data_out)), 1U);
  EXPECT_EQ(count(of(latencies().write, Phase::total)), 0U);
}

TEST_P(Latency, OfAWriteAndAFlushAreKeptApart) {
  take_at_image(queue.write(0, page.ref), std::chrono::milliseconds(2));
  world.image->hold();
  take_at_image(queue.transfer(Op::flush_diskcache, 0, {}), std::chrono::milliseconds(5));
  EXPECT_EQ(of(latencies().write, Phase::image).sum_ns(), 2'000'000U);
  EXPECT_EQ(count(of(latencies().write, Phase::data_in)), 1U);
  EXPECT_EQ(latencies().flush.sum_ns(), 5'000'000U);
}

TEST_P(Latency, OfARequestThatFailedIsNotCounted) {
  world.image->fail_next(IoStatus::io_error);
  take_at_image(queue.read(0, page.ref), std::chrono::milliseconds(1));
  EXPECT_EQ(count(of(latencies().read, Phase::total)), 0U);
}

// --- slow requests ---
class Slow : public OneQueue {
 protected:
  std::shared_ptr<std::atomic<std::uint64_t>> threshold_ns =
      std::make_shared<std::atomic<std::uint64_t>>(10'000'000);
  std::vector<SlowRequest> told;

  void SetUp() override {
    auto setup = queue.setup(world.image);
    setup.slow = {threshold_ns, [this](const SlowRequest& request) { told.push_back(request); }};
    world.connect(std::move(setup));
    world.settle();
  }
  void read_in(std::chrono::milliseconds time) {
    world.image->hold();
    queue.send(queue.read(8, page.ref));
    world.settle();
    world.clock.advance(time);
    world.image->release_all();
    world.settle();
    EXPECT_EQ(queue.take().size(), 1U);
  }
};
XENBLK_FOR_ALL_LAYOUTS(Slow);

TEST_P(Slow, RequestsAreToldWithWhereTheTimeWent) {
  read_in(std::chrono::milliseconds(9));
  EXPECT_TRUE(told.empty());
  read_in(std::chrono::milliseconds(12));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].op, Op::read);
  EXPECT_EQ(told[0].first, SectorIndex{8});
  EXPECT_EQ(told[0].count, SectorCount{8});
  EXPECT_EQ(told[0].total_ns, 12'000'000U);
  EXPECT_EQ(told[0].image_ns, 12'000'000U);
  EXPECT_EQ(told[0].data_out_ns, 0U);
  EXPECT_EQ(told[0].untold, 0U);
}

TEST_P(Slow, RequestsAreToldOnceASecondAndTheOthersAreCounted) {
  for (int i = 0; i < 50; ++i) read_in(std::chrono::milliseconds(20));
  EXPECT_EQ(told.size(), 1U);
  world.clock.advance(std::chrono::seconds(1));
  read_in(std::chrono::milliseconds(20));
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[1].untold, 49U);
}

TEST_P(Slow, IsWhateverTheThresholdSaysNow) {
  threshold_ns->store(0);
  read_in(std::chrono::milliseconds(2000));
  EXPECT_TRUE(told.empty());
  threshold_ns->store(1'000'000);
  read_in(std::chrono::milliseconds(2));
  EXPECT_EQ(told.size(), 1U);
}

}  // namespace
}  // namespace xenblk::ringio::test
