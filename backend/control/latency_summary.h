// Histograms of several queues as one, and what people want to know of it. Pure.
#pragma once

#include <array>
#include <cstdint>

#include "ringio/latency.h"

namespace xenblk::control {

class LatencySummary {
 public:
  // Read while its writer goes on: what is added is of slightly different moments.
  void add(const ringio::LatencyHistogram& histogram);

  std::uint64_t count() const { return count_; }
  std::uint64_t sum_ns() const { return sum_ns_; }
  // Requests that took less than this, which is a bound of a bucket.
  std::uint64_t count_below(std::uint64_t bound_ns) const;
  // A time that at least this share of the requests did not exceed, at most a quarter too large; 0
  // when there were none.
  std::uint64_t share_within_ns(double share) const;

 private:
  std::array<std::uint64_t, ringio::LatencyHistogram::kBuckets> counts_ = {};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
};

}  // namespace xenblk::control
