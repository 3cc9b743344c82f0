// An eventfd that is readable while raised. The caller serialises raise() and lower() with the lock
// that guards what the descriptor stands for, so the descriptor and that state never disagree.
#pragma once

namespace xenblk::loopback {

class SignalFd {  // pinned: others hold the descriptor's number
 public:
  SignalFd();
  ~SignalFd();
  SignalFd(const SignalFd&) = delete;
  SignalFd& operator=(const SignalFd&) = delete;

  void raise() noexcept;
  void lower() noexcept;
  int fd() const { return fd_; }

 private:
  int fd_;
  bool raised_ = false;
};

}  // namespace xenblk::loopback
