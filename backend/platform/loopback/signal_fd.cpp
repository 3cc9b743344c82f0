#include "backend/platform/loopback/signal_fd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {

SignalFd::SignalFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  require(fd_ >= 0, "the test's process has descriptors left for an eventfd");
}

SignalFd::~SignalFd() {
  ::close(fd_);
}

bool SignalFd::mark_raised() noexcept {
  return !std::exchange(raised_, true);
}

void SignalFd::wake() noexcept {
  require(::eventfd_write(fd_, 1) == 0, "nobody else writes the eventfd of a loopback handle");
}

void SignalFd::lower() noexcept {
  raised_ = false;
  eventfd_t count = 0;
  require(::eventfd_read(fd_, &count) == 0 || errno == EAGAIN,
          "an eventfd that is open can be read");
}

}  // namespace xenblk::loopback
