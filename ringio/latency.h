// How long requests took: a histogram with fixed bounds, one writer, any number of readers. A
// reader may see counts of different moments but never a torn one, and disturbs nobody.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace xenblk::ringio {

// Buckets as floating-point numbers are spaced: four in each power of two, so a bound is never more
// than a quarter away from what was measured. All below a microsecond is in the first one, all
// above half a minute in the last.
class LatencyHistogram {
 public:
  static constexpr unsigned kFirstPower = 10;  // 1,024 ns
  static constexpr unsigned kPowers = 25;      // up to 34 s
  static constexpr unsigned kPerPower = 4;
  static constexpr std::size_t kBuckets = kPowers * kPerPower + 2;

  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < (std::uint64_t{1} << kFirstPower)) return 0;
    const auto power = static_cast<unsigned>(std::bit_width(ns)) - 1;
    const auto quarter = static_cast<unsigned>(ns >> (power - 2)) & (kPerPower - 1);
    const std::size_t bucket = (power - kFirstPower) * kPerPower + quarter + 1;
    return std::min(bucket, kBuckets - 1);
  }
  // The bucket holds what is below this and not below the bound before; the last one has no end.
  static constexpr std::uint64_t end_ns(std::size_t bucket) noexcept {
    const auto power = kFirstPower + bucket / kPerPower;
    return (std::uint64_t{kPerPower} + bucket % kPerPower) << (power - 2);
  }

  // The writer only.
  void add(std::uint64_t ns) noexcept {
    auto& count = counts_[bucket_of(ns)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    sum_ns_.store(sum_ns_.load(std::memory_order_relaxed) + ns, std::memory_order_relaxed);
  }

  std::uint64_t count(std::size_t bucket) const noexcept {
    return counts_[bucket].load(std::memory_order_relaxed);
  }
  std::uint64_t sum_ns() const noexcept { return sum_ns_.load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> counts_ = {};
  std::atomic<std::uint64_t> sum_ns_ = 0;
};

// What time passes in. Waiting in the ring is not seen: a request is looked at when it is taken.
enum class Phase : std::uint8_t {
  data_in,   // from taking a write to having its data
  image,     // at the image: its metadata, its file, and what it waits for
  data_out,  // from the image's answer to the data of a read being with the guest
  total,     // from taking the request to answering it
};
inline constexpr std::size_t kPhases = 4;

// One queue's; written by its worker.
struct Latencies {
  std::array<LatencyHistogram, kPhases> read;   // no data_in
  std::array<LatencyHistogram, kPhases> write;  // no data_out; barriers with data too
  LatencyHistogram flush;                       // total
  LatencyHistogram discard;                     // total
};

}  // namespace xenblk::ringio
