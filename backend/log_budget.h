// How many log lines one guest may cause. Almost every line about a device can be provoked by its
// guest, as often as it likes.
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

#include "backend/token_bucket.h"

namespace xenblk::backend {

// A bucket of kBurst lines that fills again by one every kRefill. One thread.
class LogBudget {
 public:
  using Time = TokenBucket::Time;
  static constexpr std::uint32_t kBurst = 40;
  static constexpr std::chrono::seconds kRefill{10};

  // True when a line may be written now; it is counted as written then.
  bool take(Time now) {
    if (lines_.take(now)) return true;
    ++refused_;
    return false;
  }

  // Lines refused since the last call.
  std::uint64_t take_refused() { return std::exchange(refused_, 0); }

 private:
  TokenBucket lines_{kBurst, kRefill};
  std::uint64_t refused_ = 0;
};

}  // namespace xenblk::backend
