// The arithmetic behind every latency that a benchmark prints.
#include "bench/load/latency_histogram.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace xenblk::bench {
namespace {

TEST(LatencyHistogram, OfNothingIsZero) {
  EXPECT_EQ(LatencyHistogram().percentile_ns(0.5), 0U);
}

TEST(LatencyHistogram, KeepsShortLengthsExactly) {
  for (std::uint64_t ns = 0; ns < 128; ++ns) {
    LatencyHistogram histogram;
    histogram.add(ns);
    EXPECT_EQ(histogram.percentile_ns(1), ns);
  }
}

TEST(LatencyHistogram, RoundsDownByLessThanASixtyFourth) {
  for (std::uint64_t ns = 128; ns < std::numeric_limits<std::uint64_t>::max() / 3;
       ns += ns / 3 * 2) {
    LatencyHistogram histogram;
    histogram.add(ns);
    const auto told = histogram.percentile_ns(1);
    EXPECT_LE(told, ns);
    EXPECT_LT(ns - told, ns / 64 + 1);
  }
}

TEST(LatencyHistogram, HoldsTheLongestLength) {
  LatencyHistogram histogram;
  histogram.add(std::numeric_limits<std::uint64_t>::max());
  EXPECT_GE(histogram.percentile_ns(1), std::uint64_t{127} << 57);
}

TEST(LatencyHistogram, SplitsAtTheShare) {
  LatencyHistogram histogram;
  for (std::uint64_t ns = 1; ns <= 100; ++ns) histogram.add(ns);
  EXPECT_EQ(histogram.percentile_ns(0.5), 50U);
  EXPECT_EQ(histogram.percentile_ns(0.99), 99U);
  EXPECT_EQ(histogram.percentile_ns(0.999), 100U);
}

TEST(LatencyHistogram, AddsUp) {
  LatencyHistogram one;
  LatencyHistogram other;
  one.add(10);
  other.add(20);
  one.add(other);
  EXPECT_EQ(one.count(), 2U);
  EXPECT_EQ(one.percentile_ns(1), 20U);
}

}  // namespace
}  // namespace xenblk::bench
