// The control plane's loop: waits for descriptors and for work that other threads hand over.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::backend {

// Pinned. One thread calls run() and everything else but post().
class EventLoop {
 public:
  using Work = std::function<void()>;
  using Time = std::chrono::steady_clock::time_point;
  using Now = std::function<Time()>;

  // `now`: what every() and after() go by, and those who ask; a simulator has a time of its own.
  // Errors: io (no descriptors left).
  static Expected<std::unique_ptr<EventLoop>> make(Now now = &std::chrono::steady_clock::now);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // What poll(2) has seen: POLLIN, POLLOUT, POLLHUP, POLLERR.
  using Ready = std::function<void(short seen)>;

  Time now() const { return now_(); }

  // Calls `readable` whenever `descriptor` is readable (level-triggered). The descriptor is
  // borrowed, and must be forgotten before it is closed.
  void watch_descriptor(int descriptor, Work readable);
  // Calls `ready` whenever one of `events` is there, or POLLHUP or POLLERR.
  void watch_events(int descriptor, short events, Ready ready);
  // Other events from now on, of a descriptor that is watched.
  void change_events(int descriptor, short events);
  void forget_descriptor(int descriptor);
  // Calls `work` about every `interval`, for as long as the loop exists.
  void every(std::chrono::milliseconds interval, Work work);

  // Calls `work` once, after `delay` or a little later.
  void after(std::chrono::milliseconds delay, Work work);

  // Any thread: `work` runs on the loop's thread, in the order of posting, never inside post().
  void post(Work work);

  // Until stop() is called. Posted work that has not run yet then stays queued for the next run().
  void run();
  void stop();

  // One turn without waiting: what is readable and what was posted. For a simulator, in place of
  // run(); what every() and after() ask for is left to tick(), as if its time had come. False when
  // there was nothing to do.
  bool turn();
  void tick();
  // Or only what of it has its time by now().
  void run_due();

 private:
  struct Source {
    int descriptor;
    short events;
    Ready ready;
  };
  struct Periodic {
    std::chrono::milliseconds interval;
    Time next;
    Work work;
  };
  EventLoop(int wakeup, Now now) : wakeup_(wakeup), now_(std::move(now)) {}
  bool run_posted();
  bool wait_once(int patience_ms);
  int timeout_ms() const;
  void run_periodic();
  void run_delayed(Time now);

  const int wakeup_;  // eventfd
  const Now now_;
  // Lists, as a handler may add another one while it runs.
  std::list<Source> sources_;
  std::list<Periodic> periodic_;
  struct Delayed {
    Time due;
    Work work;
  };
  std::vector<Delayed> delayed_;
  bool stopped_ = false;

  std::mutex posted_mutex_;
  std::vector<Work> posted_;
};

}  // namespace xenblk::backend
