#include "nbd/export_thread.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <future>
#include <thread>
#include <utility>

namespace xenblk::nbd {
namespace {

using ringio::LoopEngine;
using ringio::UringEngine;
using ringio::Watch;

constexpr std::uint32_t kSocketEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

class ExportThread::Impl {
 public:
  ~Impl();
  Expected<void> start();
  void post(Task& task) noexcept { engine_->post(task); }
  bool is_current() const { return std::this_thread::get_id() == thread_.get_id(); }
  UringEngine& engine() { return *engine_; }
  int observe(int socket, SocketObserver& observer) noexcept;

 private:
  struct EndTask : Task {
    bool* ended = nullptr;
  };
  // Of all sockets, by one descriptor that the engine watches.
  struct SocketWatch : Watch {
    Impl* owner = nullptr;
  };

  void run(std::promise<Expected<void>>& started);
  Expected<void> set_up();
  void look_at_sockets() noexcept;

  int epoll_ = -1;
  std::unique_ptr<UringEngine> engine_;  // made, used and destroyed by the thread
  SocketWatch sockets_;
  EndTask end_task_;
  bool ending_ = false;   // the thread's
  bool running_ = false;  // the starter's
  std::thread thread_;
};

Expected<void> ExportThread::Impl::start() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return fail_os(errno, "epoll");
  std::promise<Expected<void>> started;
  auto result = started.get_future();
  thread_ = std::thread([&] { run(started); });
  auto ready = result.get();
  running_ = ready.has_value();
  return ready;
}

void ExportThread::Impl::run(std::promise<Expected<void>>& started) {
  ::pthread_setname_np(::pthread_self(), "xenblk-nbd");
  auto ready = set_up();
  const bool good = ready.has_value();
  if (!good) engine_.reset();
  // `started` belongs to start(), which returns now.
  started.set_value(std::move(ready));
  if (!good) return;
  while (!ending_) engine_->turn(LoopEngine::kForever);
  engine_.reset();
}

Expected<void> ExportThread::Impl::set_up() {
  auto engine = UringEngine::make({});
  if (!engine) return std::unexpected(std::move(engine.error()));
  engine_ = std::move(*engine);
  sockets_.descriptor = epoll_;
  sockets_.owner = this;
  sockets_.ready = [](Watch& watch) noexcept {
    static_cast<SocketWatch&>(watch).owner->look_at_sockets();
  };
  engine_->watch(sockets_);
  return {};
}

int ExportThread::Impl::observe(int socket, SocketObserver& observer) noexcept {
  epoll_event event = {.events = kSocketEvents, .data = {.ptr = &observer}};
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) == 0 ? 0 : -errno;
}

// A pass is bounded by the number of sockets, as each that changed is told once.
void ExportThread::Impl::look_at_sockets() noexcept {
  std::array<epoll_event, 32> events;
  int count = 0;
  do {
    count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      static_cast<SocketObserver*>(event.data.ptr)->socket_events(event.events);
    }
  } while (count == static_cast<int>(events.size()) || (count < 0 && errno == EINTR));
}

ExportThread::Impl::~Impl() {
  assert(!is_current());
  if (running_) {
    end_task_.ended = &ending_;
    end_task_.run = [](Task& task) noexcept { *static_cast<EndTask&>(task).ended = true; };
    engine_->post(end_task_);
  }
  if (thread_.joinable()) thread_.join();
  if (epoll_ >= 0) ::close(epoll_);
}

Expected<std::unique_ptr<ExportThread>> ExportThread::start() {
  auto impl = std::make_unique<Impl>();
  if (auto started = impl->start(); !started) return std::unexpected(std::move(started.error()));
  return std::unique_ptr<ExportThread>(new ExportThread(std::move(impl)));
}

ExportThread::ExportThread(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ExportThread::~ExportThread() = default;

void ExportThread::post(Task& task) noexcept {
  impl_->post(task);
}

bool ExportThread::is_current() const {
  return impl_->is_current();
}

int ExportThread::observe(int socket, SocketObserver& observer) noexcept {
  return impl_->observe(socket, observer);
}

UringEngine& ExportThread::engine() {
  return impl_->engine();
}

}  // namespace xenblk::nbd
