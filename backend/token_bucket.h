// How often a guest may make us do something that costs more than it costs the guest.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdint>

namespace xenblk::backend {

// A bucket that holds `burst` tokens and gets another one every `refill`, of which either is at
// least one. A value; one thread. Times never go back.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  TokenBucket(std::uint32_t burst, std::chrono::nanoseconds refill)
      : burst_(burst), refill_(refill), left_(burst) {
    assert(burst > 0);
    assert(refill.count() > 0);
  }

  // True when there was a token; it is gone then.
  bool take(Time now) {
    fill(now);
    if (left_ == 0) return false;
    --left_;
    return true;
  }

  // Beyond the burst, too.
  void add(std::uint32_t tokens) { left_ += tokens; }

  // How long until take() finds a token.
  std::chrono::nanoseconds wait(Time now) const {
    if (left_ > 0) return {};
    return std::max(std::chrono::nanoseconds::zero(), refill_ - (now - filled_at_));
  }

 private:
  void fill(Time now) {
    if (left_ >= burst_) filled_at_ = now;
    const auto earned = (now - filled_at_) / refill_;
    filled_at_ += earned * refill_;
    const auto most = std::max<std::int64_t>(left_, burst_);
    left_ = static_cast<std::uint32_t>(std::min<std::int64_t>(left_ + earned, most));
  }

  const std::uint32_t burst_;
  const std::chrono::nanoseconds refill_;
  std::uint32_t left_;
  Time filled_at_{};
};

}  // namespace xenblk::backend
