// How many bad requests, and events without any request, a ring may send: a burst, then so many a
// second, and one for each good request. A guest that sends nothing else costs no more than this;
// what it sends beyond waits. Owned by a queue; one thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "xenblk/clock.h"

namespace xenblk::ringio {

class RefusalBudget {
 public:
  static constexpr std::uint64_t kBurst = 1024;
  static constexpr std::uint64_t kNsEach = 1'000'000;  // as many a second as the kernel's backend

  void spend(Instant now) {
    refill(now);
    if (left_ != 0) --left_;
  }
  void earn() { left_ = std::min(kBurst, left_ + 1); }
  bool exhausted(Instant now) {
    refill(now);
    return left_ == 0;
  }
  // When the next one is allowed, asked while exhausted.
  Instant next() const { return {refilled_.ns + kNsEach}; }

 private:
  void refill(Instant now) {
    if (left_ == kBurst) {
      refilled_ = now;
      return;
    }
    const std::uint64_t earned = (now.ns - refilled_.ns) / kNsEach;
    left_ = std::min(kBurst, left_ + earned);
    refilled_.ns += earned * kNsEach;
  }

  std::uint64_t left_ = kBurst;
  Instant refilled_;
};

}  // namespace xenblk::ringio
