// A host in one process: the backend, on a thread of its own, on a loopback Xen.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "backend/backend.h"
#include "backend/event_loop.h"
#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::demo {

// Pinned. The destructor detaches the backend if end() was not called.
class LoopbackHost {
 public:
  // `log` is borrowed; `domain` is 0 or that of a driver domain. Errors: those of
  // backend::Backend::start.
  static Expected<std::unique_ptr<LoopbackHost>> start(loopback::LoopbackXen& xen,
                                                       backend::BackendOptions options,
                                                       spdlog::logger& log, DomainId domain = {0});
  ~LoopbackHost() { end(); }
  LoopbackHost(const LoopbackHost&) = delete;
  LoopbackHost& operator=(const LoopbackHost&) = delete;

  // Drains and releases everything, leaves XenStore as it is, and waits for that: what SIGTERM
  // does.
  void end();

  // Runs `work` on the host's thread, and waits for it.
  void run(const std::function<void(backend::EventLoop&, backend::Backend&)>& work);

  // What SIGHUP does.
  void reread_capacities() {
    loop_->post([this] { backend_->reread_capacities(); });
  }
  // What a minute does.
  void age_grants() {
    loop_->post([this] { backend_->age_grants(); });
  }

 private:
  LoopbackHost() = default;
  std::unique_ptr<backend::EventLoop> loop_;
  std::unique_ptr<backend::Backend> backend_;
  std::thread thread_;
};

}  // namespace xenblk::demo
