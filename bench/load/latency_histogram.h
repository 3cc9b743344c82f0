// How long operations took, in buckets that are at most 1/64 wide: 1.6 % exact at any length, of a
// fixed size, and filled without a branch that depends on what came before. One thread adds.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace xenblk::bench {

class LatencyHistogram {
 public:
  void add(std::uint64_t ns) noexcept {
    ++counts_[bucket_of(ns)];
    ++total_;
  }
  void add(const LatencyHistogram& other) noexcept;

  std::uint64_t count() const { return total_; }
  // The smallest length that at least this share (above 0, up to 1) of the operations did not
  // exceed, rounded down to its bucket's start; 0 when nothing was added.
  std::uint64_t percentile_ns(double share) const;

 private:
  static constexpr unsigned kSubBits = 6;
  static constexpr std::uint64_t kSubBuckets = std::uint64_t{1} << kSubBits;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) * kSubBuckets;

  // Lengths below 64 have a bucket each; from there every power of two is cut into 64.
  static constexpr std::size_t bucket_of(std::uint64_t ns) {
    if (ns < kSubBuckets) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - kSubBits - 1;
    return static_cast<std::size_t>((shift * kSubBuckets) + (ns >> shift));
  }
  static constexpr std::uint64_t start_of(std::size_t bucket) {
    if (bucket < 2 * kSubBuckets) return bucket;
    const auto shift = (bucket / kSubBuckets) - 1;
    return (bucket - (shift * kSubBuckets)) << shift;
  }

  std::array<std::uint64_t, kBuckets> counts_ = {};
  std::uint64_t total_ = 0;
};

}  // namespace xenblk::bench
