#include "backend/event_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace xenblk::backend {

using std::chrono::milliseconds;

constexpr std::int64_t kLongestWaitMs = 3'600'000;

Expected<std::unique_ptr<EventLoop>> EventLoop::make(Now now) {
  const int wakeup = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wakeup < 0) return fail_os(errno, "eventfd of the control loop");
  return std::unique_ptr<EventLoop>(new EventLoop(wakeup, std::move(now)));
}

EventLoop::~EventLoop() {
  ::close(wakeup_);
}

void EventLoop::watch_descriptor(int descriptor, Work readable) {
  watch_events(descriptor, POLLIN, [readable = std::move(readable)](short) { readable(); });
}

void EventLoop::watch_events(int descriptor, short events, Ready ready) {
  sources_.push_back({descriptor, events, std::move(ready)});
}

void EventLoop::change_events(int descriptor, short events) {
  for (auto& source : sources_) {
    if (source.descriptor == descriptor) source.events = events;
  }
}

void EventLoop::forget_descriptor(int descriptor) {
  // The entry stays until no handler runs, as it may be a handler that calls.
  for (auto& source : sources_) {
    if (source.descriptor == descriptor) source.descriptor = -1;
  }
}

void EventLoop::every(milliseconds interval, Work work) {
  periodic_.push_back({interval, now_() + interval, std::move(work)});
}

void EventLoop::after(milliseconds delay, Work work) {
  delayed_.push_back({now_() + delay, std::move(work)});
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
    wait_once(timeout_ms());
    run_due();
    run_posted();
  }
}

bool EventLoop::turn() {
  const bool readable = wait_once(0);
  return run_posted() || readable;
}

void EventLoop::tick() {
  for (const auto& periodic : periodic_) periodic.work();
  run_delayed(Time::max());
}

void EventLoop::run_due() {
  run_periodic();
  run_delayed(now_());
}

bool EventLoop::wait_once(int patience_ms) {
  sources_.remove_if([](const Source& source) { return source.descriptor < 0; });
  std::vector<pollfd> polled{{wakeup_, POLLIN, 0}};
  for (const auto& source : sources_) polled.push_back({source.descriptor, source.events, 0});
  if (::poll(polled.data(), polled.size(), patience_ms) <= 0) return false;
  eventfd_t count = 0;
  if (polled[0].revents != 0) [[maybe_unused]]
    const int empty = ::eventfd_read(wakeup_, &count);
  // A handler may add sources, at the end, and forget some; none is removed before the next turn.
  auto source = sources_.begin();
  for (std::size_t i = 1; i < polled.size(); ++i, ++source) {
    if (polled[i].revents == 0 || source->descriptor < 0 || stopped_) continue;
    source->ready(polled[i].revents);
  }
  return true;
}

int EventLoop::timeout_ms() const {
  auto next = Time::max();
  for (const auto& periodic : periodic_) next = std::min(next, periodic.next);
  for (const auto& delayed : delayed_) next = std::min(next, delayed.due);
  if (next == Time::max()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next - now_());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kLongestWaitMs));
}

void EventLoop::run_periodic() {
  const auto now = now_();
  for (auto& periodic : periodic_) {
    if (now < periodic.next) continue;
    periodic.next = now + periodic.interval;
    periodic.work();
  }
}

void EventLoop::run_delayed(Time now) {
  const auto due = std::ranges::partition(delayed_, [&](const auto& d) { return d.due > now; });
  // Taken out first: what is called may delay more.
  std::vector<Delayed> run(std::make_move_iterator(due.begin()),
                           std::make_move_iterator(due.end()));
  delayed_.erase(due.begin(), due.end());
  for (const auto& delayed : run) delayed.work();
}

bool EventLoop::run_posted() {
  std::vector<Work> work;
  {
    const std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (const auto& item : work) item();
  return !work.empty();
}

}  // namespace xenblk::backend
