// The limits of one disk, or of all disks of a guest together: operations and bytes a second, asked
// at the moment at which a request is taken, so that the ring is the queue and nothing is stored
// for what has to wait. Shared by all queues, whichever workers serve them; set by the control
// plane while they run.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "xenblk/clock.h"

namespace xenblk::ringio {

// 0: not limited. What was not used for a while is saved up for at most `burst_ns`.
struct RateLimits {
  std::uint64_t operations_per_second = 0;
  std::uint64_t bytes_per_second = 0;
  std::uint64_t burst_ns = 100'000'000;
  friend bool operator==(const RateLimits&, const RateLimits&) = default;
};

// A token bucket, kept as the moment up to which everything that was taken is paid for: what lies
// behind is saved up, what lies ahead of `burst_ns` is a debt that is waited for. One that may take
// may take any amount, so that a request larger than the bucket waits afterwards, not for ever.
// Any thread.
class TokenBucket {
 public:
  void set_rate(std::uint64_t per_second) noexcept {
    per_second_.store(per_second, std::memory_order_relaxed);
    paid_until_ns_.store(0, std::memory_order_relaxed);
  }
  std::uint64_t rate() const noexcept { return per_second_.load(std::memory_order_relaxed); }

  // When the next one may be taken: a moment not after `now` where it may be at once.
  Instant next(std::uint64_t burst_ns) const noexcept {
    const auto paid_until_ns = paid_until_ns_.load(std::memory_order_relaxed);
    return {rate() == 0 || paid_until_ns <= burst_ns ? 0 : paid_until_ns - burst_ns};
  }

  // `amount` is at most 16 MiB, so that the product fits.
  void charge(Instant now, std::uint64_t amount) noexcept {
    const auto per_second = rate();
    if (per_second == 0 || amount == 0) return;
    const auto cost_ns = amount * 1'000'000'000 / per_second;
    auto seen = paid_until_ns_.load(std::memory_order_relaxed);
    while (!paid_until_ns_.compare_exchange_weak(seen, std::max(seen, now.ns) + cost_ns,
                                                 std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<std::uint64_t> per_second_ = 0;
  std::atomic<std::uint64_t> paid_until_ns_ = 0;
};

// Any thread. Two workers that ask at the same moment may both take; the debt is paid afterwards.
class RateLimiter {
 public:
  // How long a queue waits at least, and how much longer than others one that has just had
  // something, so that one whose worker never sleeps does not take it all. Far less than any burst,
  // so that nothing is lost by it.
  static constexpr std::uint64_t kTurnNs = 200'000;

  // Whoever waits for the limits that were has to be woken (Worker::wake).
  void set(const RateLimits& limits) noexcept {
    burst_ns_.store(limits.burst_ns, std::memory_order_relaxed);
    operations_.set_rate(limits.operations_per_second);
    bytes_.set_rate(limits.bytes_per_second);
    limited_.store(limits.operations_per_second != 0 || limits.bytes_per_second != 0,
                   std::memory_order_relaxed);
  }
  // All that a request asks where there are no limits; nobody writes beside it then.
  bool limited() const noexcept { return limited_.load(std::memory_order_relaxed); }
  RateLimits get() const noexcept { return {operations_.rate(), bytes_.rate(), burst_ns()}; }

  bool allows(Instant now) const noexcept { return next(now) <= now; }
  // When to ask again, `after_ns` later than what is due. Not sooner than a turn, or than the burst
  // lasts: one awakening for each request of a fast disk would cost more than the request.
  Instant next(Instant now, std::uint64_t after_ns = 0) const noexcept {
    if (!limited()) return {};
    const auto due = std::max(operations_.next(burst_ns()), bytes_.next(burst_ns()));
    const Instant at{due.ns + after_ns};
    if (at <= now) return at;
    return std::max(at, Instant{now.ns + std::min<std::uint64_t>(burst_ns(), kTurnNs)});
  }
  void charge_operation(Instant now) noexcept { operations_.charge(now, 1); }
  void charge_bytes(Instant now, std::uint64_t bytes) noexcept { bytes_.charge(now, bytes); }

 private:
  std::uint64_t burst_ns() const noexcept { return burst_ns_.load(std::memory_order_relaxed); }

  TokenBucket operations_;
  TokenBucket bytes_;
  std::atomic<std::uint64_t> burst_ns_ = RateLimits{}.burst_ns;
  std::atomic<bool> limited_ = false;
};

}  // namespace xenblk::ringio
