// SIGINT and SIGTERM, for work that has something to clean up. One object at a time, main thread.
#pragma once

#include <csignal>

namespace xenblk::img {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // True once one of the signals came. A system call that waits was interrupted by it.
  bool interrupted() const;

 private:
  struct sigaction before_int_ = {};
  struct sigaction before_term_ = {};
};

}  // namespace xenblk::img
