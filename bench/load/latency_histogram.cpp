#include "bench/load/latency_histogram.h"

#include <cassert>
#include <cmath>

namespace xenblk::bench {

void LatencyHistogram::add(const LatencyHistogram& other) noexcept {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    counts_[bucket] += other.counts_[bucket];
  }
  total_ += other.total_;
}

std::uint64_t LatencyHistogram::percentile_ns(double share) const {
  assert(share > 0 && share <= 1);
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(total_)));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    seen += counts_[bucket];
    if (seen >= wanted && seen > 0) return start_of(bucket);
  }
  return 0;
}

}  // namespace xenblk::bench
