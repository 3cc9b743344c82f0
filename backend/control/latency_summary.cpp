#include "backend/control/latency_summary.h"

#include <cmath>

namespace xenblk::control {

using ringio::LatencyHistogram;

void LatencySummary::add(const LatencyHistogram& histogram) {
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    const auto count = histogram.count(bucket);
    counts_[bucket] += count;
    count_ += count;
  }
  sum_ns_ += histogram.sum_ns();
}

std::uint64_t LatencySummary::count_below(std::uint64_t bound_ns) const {
  std::uint64_t below = 0;
  for (std::size_t bucket = 0; bucket + 1 < counts_.size(); ++bucket) {
    if (LatencyHistogram::end_ns(bucket) <= bound_ns) below += counts_[bucket];
  }
  return below;
}

std::uint64_t LatencySummary::share_within_ns(double share) const {
  if (count_ == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(static_cast<double>(count_) * share));
  std::uint64_t seen = 0;
  std::size_t bucket = 0;
  for (; bucket + 1 < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (seen >= wanted) break;
  }
  return LatencyHistogram::end_ns(bucket);
}

}  // namespace xenblk::control
