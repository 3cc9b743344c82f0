// An eventfd that is readable while raised. The caller serialises all but wake() with the lock that
// guards what the descriptor stands for. wake() is the part of raise() that wakes a thread: called
// without that lock, so that the thread does not find it taken. Until then the descriptor is late,
// and after a lower() in between it is readable with nothing behind it, until the next lower().
#pragma once

namespace xenblk::loopback {

class SignalFd {  // pinned: others hold the descriptor's number
 public:
  SignalFd();
  ~SignalFd();
  SignalFd(const SignalFd&) = delete;
  SignalFd& operator=(const SignalFd&) = delete;

  void raise() noexcept {
    if (mark_raised()) wake();
  }
  // True: wake() is due.
  bool mark_raised() noexcept;
  void wake() noexcept;
  void lower() noexcept;
  int fd() const { return fd_; }

 private:
  int fd_;
  bool raised_ = false;
};

}  // namespace xenblk::loopback
