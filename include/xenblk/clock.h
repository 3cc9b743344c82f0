// The clock seam. Real: CLOCK_MONOTONIC. In tests: virtual time.
#pragma once

#include <compare>
#include <cstdint>

namespace xenblk {

// Nanoseconds since an arbitrary start; never goes back.
struct Instant {
  std::uint64_t ns = 0;
  auto operator<=>(const Instant&) const = default;
};

class Clock {
 public:
  virtual ~Clock() = default;
  // Any thread.
  virtual Instant now() const noexcept = 0;
};

}  // namespace xenblk
