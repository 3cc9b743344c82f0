// The signals that end a program, for work that has something to clean up. One object at a time,
// main thread.
#pragma once

#include <array>
#include <csignal>

namespace xenblk::img {

inline constexpr std::array kInterrupts = {SIGINT, SIGTERM, SIGHUP};

// Whoever started us wants us to go on in spite of it, as nohup(1) does.
bool is_ignored(int signal);

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // True once one of the signals came that are not ignored. A system call that waits was
  // interrupted by it.
  bool interrupted() const;

 private:
  std::array<struct sigaction, kInterrupts.size()> before_ = {};
};

}  // namespace xenblk::img
