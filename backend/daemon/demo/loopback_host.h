// A host in one process: the backend, on a thread of its own, on a loopback Xen.
#pragma once

#include <memory>
#include <thread>

#include "backend/backend.h"
#include "backend/event_loop.h"
#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::demo {

// Pinned. The destructor detaches the backend if end() was not called.
class LoopbackHost {
 public:
  // `log` is borrowed. Errors: those of backend::Backend::start.
  static Expected<std::unique_ptr<LoopbackHost>> start(loopback::LoopbackXen& xen,
                                                       backend::BackendOptions options,
                                                       spdlog::logger& log);
  ~LoopbackHost() { end(); }
  LoopbackHost(const LoopbackHost&) = delete;
  LoopbackHost& operator=(const LoopbackHost&) = delete;

  // Drains and releases everything, leaves XenStore as it is, and waits for that: what SIGTERM
  // does.
  void end();

  // What SIGHUP does.
  void reread_capacities() {
    loop_->post([this] { backend_->reread_capacities(); });
  }

 private:
  LoopbackHost() = default;
  std::unique_ptr<backend::EventLoop> loop_;
  std::unique_ptr<backend::Backend> backend_;
  std::thread thread_;
};

}  // namespace xenblk::demo
