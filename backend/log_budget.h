// How many log lines one guest may cause. Almost every line about a device can be provoked by its
// guest, as often as it likes.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace xenblk::backend {

// A bucket of kBurst lines that fills again by one every kRefill. One thread.
class LogBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::uint32_t kBurst = 40;
  static constexpr std::chrono::seconds kRefill{10};

  // True when a line may be written now; it is counted as written then.
  bool take(Time now) {
    refill(now);
    if (left_ == 0) {
      ++refused_;
      return false;
    }
    --left_;
    return true;
  }

  // Lines refused since the last call.
  std::uint64_t take_refused() { return std::exchange(refused_, 0); }

 private:
  void refill(Time now) {
    if (left_ == kBurst) refilled_at_ = now;
    const auto earned = (now - refilled_at_) / kRefill;
    refilled_at_ += earned * kRefill;
    left_ = static_cast<std::uint32_t>(std::min<std::int64_t>(left_ + earned, kBurst));
  }

  std::uint32_t left_ = kBurst;
  Time refilled_at_{};
  std::uint64_t refused_ = 0;
};

}  // namespace xenblk::backend
