// Where everything that happens in a simulation comes from: one seed, and a clock that goes on only
// when it is told to.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

#include "xenblk/clock.h"

namespace xenblk::sim {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::mt19937_64& source() { return random_; }

 private:
  std::mt19937_64 random_;
};

class VirtualClock final : public Clock {
 public:
  Instant now() const noexcept override { return now_; }
  void advance(std::chrono::nanoseconds time) {
    now_.ns += static_cast<std::uint64_t>(time.count());
  }

 private:
  Instant now_{1'000'000'000};
};

// What was seen, in few bytes: two runs of one seed must agree.
class Trace {
 public:
  void add(std::uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3; }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace xenblk::sim
