#include "ringio/poller.h"

namespace xenblk::ringio {
namespace {

constexpr std::uint64_t kPeriodNs = 100'000'000;

}  // namespace

bool Poller::stay_awake(Instant now, bool active, Awaited awaited) {
  if (!enabled()) return false;
  if (active) {
    if (polling_) odds(awaited_).hit();
    polling_ = has_budget(now) && odds(awaited).try_again();
    awaited_ = awaited;
    since_ = now;
    return polling_;
  }
  if (!polling_) return false;
  const std::uint64_t looked_ns = now.ns - since_.ns;
  if (looked_ns < window_ns()) return true;
  odds(awaited_).miss();
  wasted_ns_ += looked_ns;
  polling_ = false;
  return false;
}

bool Poller::has_budget(Instant now) {
  if (now.ns - period_begin_.ns >= kPeriodNs) {
    period_begin_ = now;
    wasted_ns_ = 0;
  }
  return wasted_ns_ < kPeriodNs / 100 * options_.budget_percent;
}

bool Poller::Odds::try_again() {
  if (to_skip_ == 0) return true;
  --to_skip_;
  return false;
}

void Poller::Odds::miss() {
  if (misses_ < kMostMisses) ++misses_;
  to_skip_ = (1U << misses_) - 1;
}

}  // namespace xenblk::ringio
