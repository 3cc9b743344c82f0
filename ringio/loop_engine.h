// What the worker's loop needs of an engine beyond submitting: a turn, in which operations start
// and completions run. Real: UringEngine. In a simulator: the simulated disk.
#pragma once

#include <chrono>

#include "xenblk/io.h"

namespace xenblk::ringio {

class LoopEngine : public IoEngine {
 public:
  static constexpr auto kNoWait = std::chrono::nanoseconds::zero();
  static constexpr auto kForever = std::chrono::nanoseconds::max();

  // Runs posted tasks, hands over what was submitted and runs `done` of what has completed. When
  // there was nothing to run, waits up to `patience` for a completion, a task or a readable
  // descriptor. May return early. Engine's thread only.
  virtual void turn(std::chrono::nanoseconds patience) noexcept = 0;
};

}  // namespace xenblk::ringio
