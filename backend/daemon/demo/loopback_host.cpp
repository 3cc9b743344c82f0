#include "backend/daemon/demo/loopback_host.h"

#include <future>
#include <utility>

namespace xenblk::demo {

Expected<std::unique_ptr<LoopbackHost>> LoopbackHost::start(loopback::LoopbackXen& xen,
                                                            backend::BackendOptions options,
                                                            spdlog::logger& log, DomainId domain) {
  std::unique_ptr<LoopbackHost> host(new LoopbackHost);
  auto loop = backend::EventLoop::make();
  if (!loop) return std::unexpected(std::move(loop.error()));
  host->loop_ = std::move(*loop);
  auto backend = backend::Backend::start(xen.host(domain), *host->loop_, std::move(options), log);
  if (!backend) return std::unexpected(std::move(backend.error()));
  host->backend_ = std::move(*backend);
  // From here on only this thread touches the backend, its XenStore connection included.
  host->thread_ = std::thread([loop = host->loop_.get()] { loop->run(); });
  return host;
}

void LoopbackHost::run(const std::function<void(backend::EventLoop&, backend::Backend&)>& work) {
  std::promise<void> done;
  loop_->post([&] {
    work(*loop_, *backend_);
    done.set_value();
  });
  done.get_future().wait();
}

void LoopbackHost::end() {
  if (!thread_.joinable()) return;
  loop_->post([this] { backend_->detach([this] { loop_->stop(); }); });
  thread_.join();
  backend_.reset();
}

}  // namespace xenblk::demo
