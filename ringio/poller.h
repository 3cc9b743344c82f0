// Whether a worker looks at its rings again instead of going to sleep. A wake-up costs more than
// many looks, so looking pays when something comes soon, and is a waste when it does not: both are
// learned from what happened before, separately for the two things a worker waits for. One thread;
// time is given, so nothing here is random.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "xenblk/clock.h"

namespace xenblk::ringio {

struct PollingOptions {
  // How long nothing may come before the worker sleeps; 0: it never polls.
  std::chrono::nanoseconds window = std::chrono::nanoseconds::zero();
  // Share of a CPU that may be spent on looking in vain.
  std::uint32_t budget_percent = 10;
};

enum class Awaited : std::uint8_t {
  image,  // requests are under way: the next thing is most likely a completion
  guest,  // nothing is under way: the next thing is a request
};

class Poller {
 public:
  explicit Poller(PollingOptions options) : options_(options) {}

  std::uint64_t window_ns() const { return static_cast<std::uint64_t>(options_.window.count()); }
  bool enabled() const { return options_.window.count() > 0; }

  // To be asked when there is nothing to do now. `active`: something was done since it was asked
  // last.
  bool stay_awake(Instant now, bool active, Awaited awaited);

 private:
  // How often looking was in vain lately; each time in a row doubles the number of occasions that
  // are passed over before it is tried again.
  class Odds {
   public:
    bool try_again();
    void hit() { misses_ = 0; }
    void miss();

   private:
    static constexpr std::uint32_t kMostMisses = 8;
    std::uint32_t misses_ = 0;
    std::uint32_t to_skip_ = 0;
  };

  bool has_budget(Instant now);
  Odds& odds(Awaited awaited) { return odds_[static_cast<std::size_t>(awaited)]; }

  PollingOptions options_;
  std::array<Odds, 2> odds_;
  bool polling_ = false;
  Awaited awaited_ = Awaited::guest;
  Instant since_;                // polling began
  Instant period_begin_;         // of the budget
  std::uint64_t wasted_ns_ = 0;  // in this period
};

}  // namespace xenblk::ringio
