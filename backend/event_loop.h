// The control plane's loop: waits for descriptors and for work that other threads hand over.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::backend {

// Pinned. One thread calls run() and everything else but post().
class EventLoop {
 public:
  using Work = std::function<void()>;

  // Errors: io (no descriptors left).
  static Expected<std::unique_ptr<EventLoop>> make();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `readable` whenever `descriptor` is readable (level-triggered). The descriptor is
  // borrowed.
  void watch_descriptor(int descriptor, Work readable);
  void forget_descriptor(int descriptor);
  // Calls `work` about every `interval`; one such call per loop.
  void every(std::chrono::milliseconds interval, Work work);

  // Any thread: `work` runs on the loop's thread, in the order of posting, never inside post().
  void post(Work work);

  // Until stop() is called. Posted work that has not run yet then stays queued for the next run().
  void run();
  void stop();

 private:
  struct Source {
    int descriptor;
    Work readable;
  };
  explicit EventLoop(int wakeup) : wakeup_(wakeup) {}
  void run_posted();
  void wait_once();
  int timeout_ms() const;
  void run_periodic();

  const int wakeup_;  // eventfd
  std::vector<Source> sources_;
  std::chrono::milliseconds interval_{0};
  std::chrono::steady_clock::time_point next_periodic_;
  Work periodic_;
  bool stopped_ = false;

  std::mutex posted_mutex_;
  std::vector<Work> posted_;
};

}  // namespace xenblk::backend
