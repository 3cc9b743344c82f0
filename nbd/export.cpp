#include "nbd/export.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cerrno>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "nbd/connection.h"
#include "nbd/terms.h"
#include "nbd/unix_socket.h"
#include "ringio/uring_engine.h"

namespace xenblk::nbd {
namespace {

using ringio::LoopEngine;
using ringio::UringEngine;
using ringio::Watch;

// Edge-triggered: the engine is told of a change once, and the connection remembers it.
constexpr std::uint32_t kSocketEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

class Export::Impl {
 public:
  Impl(std::shared_ptr<Image> image, std::string path, ExportOptions options)
      : image_(std::move(image)), path_(std::move(path)), options_(std::move(options)) {}
  ~Impl();

  Expected<void> start();
  void stop();
  const std::string& path() const { return path_; }
  const ExportCounters& counters() const { return counters_; }

 private:
  struct StopTask : Task {
    Impl* owner = nullptr;
  };
  // Of the sockets, by one descriptor that the engine watches.
  struct SocketWatch : Watch {
    Impl* owner = nullptr;
  };

  void run(std::promise<Expected<void>>& started);
  Expected<void> set_up();
  void begin_stop() noexcept;
  void look_at_sockets() noexcept;
  void accept_all() noexcept;
  void add_connection(int socket) noexcept;
  void end_connection(Connection& connection) noexcept;
  bool observe(int descriptor, void* pointer) const noexcept;

  const std::shared_ptr<Image> image_;
  const std::string path_;
  const ExportOptions options_;
  ExportCounters counters_;
  std::optional<ListeningSocket> listener_;
  int epoll_ = -1;
  // The export's thread only.
  std::unique_ptr<UringEngine> engine_;
  SocketWatch sockets_;
  StopTask stop_task_;
  boost::intrusive::list<Connection, boost::intrusive::base_hook<ConnectionHook>> connections_;
  bool stopping_ = false;
  bool running_ = false;  // not the export's thread: it listens, and can be stopped
  std::thread thread_;
};

Expected<void> Export::Impl::start() {
  auto listener = ListeningSocket::make(path_);
  if (!listener) return std::unexpected(std::move(listener.error()));
  listener_.emplace(std::move(*listener));
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return fail_os(errno, "epoll");
  std::promise<Expected<void>> started;
  auto result = started.get_future();
  thread_ = std::thread([&] { run(started); });
  auto ready = result.get();
  running_ = ready.has_value();
  return ready;
}

void Export::Impl::run(std::promise<Expected<void>>& started) {
  ::pthread_setname_np(::pthread_self(), "xenblk-nbd");
  auto ready = set_up();
  const bool good = ready.has_value();
  if (!good) engine_.reset();
  // `started` belongs to start(), which returns now.
  started.set_value(std::move(ready));
  if (!good) return;
  while (!stopping_ || !connections_.empty()) engine_->turn(LoopEngine::kForever);
  engine_.reset();
}

Expected<void> Export::Impl::set_up() {
  auto engine = UringEngine::make({});
  if (!engine) return std::unexpected(std::move(engine.error()));
  engine_ = std::move(*engine);
  sockets_.descriptor = epoll_;
  sockets_.owner = this;
  sockets_.ready = [](Watch& watch) noexcept {
    static_cast<SocketWatch&>(watch).owner->look_at_sockets();
  };
  if (!observe(listener_->descriptor(), nullptr)) return fail_os(errno, "epoll");
  engine_->watch(sockets_);
  return {};
}

bool Export::Impl::observe(int descriptor, void* pointer) const noexcept {
  epoll_event event = {.events = kSocketEvents, .data = {.ptr = pointer}};
  return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

// Each socket that changed is told once, and connections act later: a pass is bounded by their
// number, and none of them ends while events are handed out.
void Export::Impl::look_at_sockets() noexcept {
  std::array<epoll_event, 32> events;
  int count = 0;
  do {
    count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
      const auto& event = events[static_cast<std::size_t>(i)];
      if (event.data.ptr == nullptr) {
        accept_all();
      } else {
        static_cast<Connection*>(event.data.ptr)->socket_events(event.events);
      }
    }
  } while (count == static_cast<int>(events.size()) || (count < 0 && errno == EINTR));
}

void Export::Impl::accept_all() noexcept {
  while (!stopping_) {
    const int socket = listener_->accept();
    if (socket == -EINTR || socket == -ECONNABORTED) continue;
    // None left, or no descriptor for it: then the next client that comes brings us here again.
    if (socket < 0) return;
    add_connection(socket);
  }
}

void Export::Impl::add_connection(int socket) noexcept {
  if (connections_.size() >= options_.connections_max) {
    ::close(socket);
    return;
  }
  auto connection =
      Connection::make(socket, {.image = *image_,
                                .engine = *engine_,
                                .terms = terms_of(*image_, options_.name, options_.read_only),
                                .counters = counters_,
                                .ended =
                                    [](void* owner, Connection& ended) noexcept {
                                      static_cast<Impl*>(owner)->end_connection(ended);
                                    },
                                .owner = this});
  if (!connection) return;
  connections_.push_back(**connection);
  add<std::uint32_t>(counters_.connections, 1);
  add<std::uint64_t>(counters_.connections_total, 1);
  const bool observed = observe(socket, connection->get());
  Connection& added = *connection->release();
  if (!observed) added.stop();
}

void Export::Impl::end_connection(Connection& connection) noexcept {
  connections_.erase(connections_.iterator_to(connection));
  delete &connection;
  counters_.connections.store(static_cast<std::uint32_t>(connections_.size()),
                              std::memory_order_relaxed);
  if (connections_.empty() && !stopping_ && options_.last_client_left) {
    options_.last_client_left();
  }
}

void Export::Impl::begin_stop() noexcept {
  stopping_ = true;
  listener_.reset();
  for (auto& connection : connections_) connection.stop();
}

void Export::Impl::stop() {
  assert(std::this_thread::get_id() != thread_.get_id());
  if (!thread_.joinable()) return;
  if (running_) {
    stop_task_.owner = this;
    stop_task_.run = [](Task& task) noexcept { static_cast<StopTask&>(task).owner->begin_stop(); };
    engine_->post(stop_task_);
  }
  thread_.join();
}

Export::Impl::~Impl() {
  stop();
  if (epoll_ >= 0) ::close(epoll_);
}

Expected<std::unique_ptr<Export>> Export::start(std::shared_ptr<Image> image,
                                                const std::string& path, ExportOptions options) {
  if (options.name.size() > kNameBytesMax) {
    return fail(Errc::bad_spec, "the name of an export has at most 255 bytes");
  }
  auto impl = std::make_unique<Impl>(std::move(image), path, std::move(options));
  if (auto started = impl->start(); !started) return std::unexpected(std::move(started.error()));
  return std::unique_ptr<Export>(new Export(std::move(impl)));
}

Export::Export(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Export::~Export() = default;

void Export::stop() {
  impl_->stop();
}

const std::string& Export::path() const {
  return impl_->path();
}

const ExportCounters& Export::counters() const {
  return impl_->counters();
}

}  // namespace xenblk::nbd
