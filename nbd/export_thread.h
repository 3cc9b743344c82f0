// The thread that works for the clients of any number of exports, and its io_uring. It is made
// before the process gives up the right to make rings; exports come and go later.
#pragma once

#include <functional>
#include <memory>

#include "ringio/uring_engine.h"
#include "xenblk/error.h"

namespace xenblk::nbd {

// What epoll tells about one socket, on the export's thread. Whoever is told only remembers it and
// acts later: nobody who is observed ends while events are handed out.
class SocketObserver {
 public:
  virtual void socket_events(std::uint32_t events) noexcept = 0;

 protected:
  ~SocketObserver() = default;
};

// Pinned. All exports that use it are stopped before it is destroyed.
class ExportThread {
 public:
  // Errors: unavailable (no io_uring), no_memory, io.
  static Expected<std::unique_ptr<ExportThread>> start();
  // Joins; not on the thread itself.
  ~ExportThread();
  ExportThread(const ExportThread&) = delete;
  ExportThread& operator=(const ExportThread&) = delete;

  // --- Any thread.
  // Runs `task` on the thread, soon; it lives until it has run.
  void post(Task& task) noexcept;
  // Edge-triggered: how the socket is, and then each change, is told once. Ends when the socket is
  // closed, which only the thread may do. Returns 0 or -errno.
  [[nodiscard]] int observe(int socket, SocketObserver& observer) noexcept;
  bool is_current() const;

  // The thread only.
  ringio::UringEngine& engine();

 private:
  class Impl;
  explicit ExportThread(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace xenblk::nbd
