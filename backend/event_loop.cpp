#include "backend/event_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace xenblk::backend {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Expected<std::unique_ptr<EventLoop>> EventLoop::make() {
  const int wakeup = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wakeup < 0) return fail_os(errno, "eventfd of the control loop");
  return std::unique_ptr<EventLoop>(new EventLoop(wakeup));
}

EventLoop::~EventLoop() {
  ::close(wakeup_);
}

void EventLoop::watch_descriptor(int descriptor, Work readable) {
  sources_.push_back({descriptor, std::move(readable)});
}

void EventLoop::forget_descriptor(int descriptor) {
  // The entry stays, as it may be a handler that calls; poll() passes over a negative descriptor.
  for (auto& source : sources_) {
    if (source.descriptor == descriptor) source.descriptor = -1;
  }
}

void EventLoop::every(milliseconds interval, Work work) {
  interval_ = interval;
  next_periodic_ = steady_clock::now() + interval;
  periodic_ = std::move(work);
}

void EventLoop::post(Work work) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(work));
  }
  // Fails only when the counter is full, and then the loop is woken anyway.
  [[maybe_unused]] const int failed = ::eventfd_write(wakeup_, 1);
}

void EventLoop::stop() {
  stopped_ = true;
}

void EventLoop::run() {
  stopped_ = false;
  while (!stopped_) {
    wait_once();
    run_periodic();
    run_posted();
  }
}

void EventLoop::wait_once() {
  std::vector<pollfd> polled{{wakeup_, POLLIN, 0}};
  for (const auto& source : sources_) polled.push_back({source.descriptor, POLLIN, 0});
  if (::poll(polled.data(), polled.size(), timeout_ms()) <= 0) return;
  eventfd_t count = 0;
  if (polled[0].revents != 0) [[maybe_unused]]
    const int empty = ::eventfd_read(wakeup_, &count);
  // A handler may add a source but no entry is ever removed, so indices stay valid.
  for (std::size_t i = 1; i < polled.size(); ++i) {
    if (polled[i].revents != 0 && !stopped_) sources_[i - 1].readable();
  }
}

int EventLoop::timeout_ms() const {
  if (!periodic_) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next_periodic_ - steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, interval_.count()));
}

void EventLoop::run_periodic() {
  if (!periodic_ || steady_clock::now() < next_periodic_) return;
  next_periodic_ = steady_clock::now() + interval_;
  periodic_();
}

void EventLoop::run_posted() {
  std::vector<Work> work;
  {
    const std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (const auto& item : work) item();
}

}  // namespace xenblk::backend
