#include "nbd/export.h"

#include <unistd.h>

#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cerrno>
#include <future>
#include <optional>
#include <utility>

#include "nbd/connection.h"
#include "nbd/terms.h"
#include "nbd/unix_socket.h"

namespace xenblk::nbd {

class Export::Impl final : public SocketObserver {
 public:
  Impl(ExportThread& thread, std::shared_ptr<Image> image, std::string path, ExportOptions options)
      : thread_(thread),
        image_(std::move(image)),
        path_(std::move(path)),
        options_(std::move(options)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { stop(); }

  Expected<void> start();
  void stop();
  void stop(std::function<void()> stopped);
  const std::string& path() const { return path_; }
  const ExportOptions& options() const { return options_; }
  const ExportCounters& counters() const { return counters_; }

 private:
  struct StopTask : Task {
    Impl* owner = nullptr;
  };
  void socket_events(std::uint32_t events) noexcept override;
  void accept_all() noexcept;
  void add_connection(int socket) noexcept;
  void end_connection(Connection& connection) noexcept;
  void begin_stop() noexcept;
  void finish_stop() noexcept;

  ExportThread& thread_;
  const std::shared_ptr<Image> image_;
  const std::string path_;
  const ExportOptions options_;
  ExportCounters counters_;
  std::optional<ListeningSocket> listener_;
  bool running_ = false;  // not the thread's: it listens, and can be stopped
  StopTask stop_task_;
  // The thread's only.
  boost::intrusive::list<Connection, boost::intrusive::base_hook<ConnectionHook>> connections_;
  bool client_was_there_ = false;  // since the last one left
  bool stopping_ = false;
  std::function<void()> stopped_;
};

Expected<void> Export::Impl::start() {
  auto listener = ListeningSocket::make(path_);
  if (!listener) return std::unexpected(std::move(listener.error()));
  listener_.emplace(std::move(*listener));
  // From here on the thread may be serving.
  const int observed = thread_.observe(listener_->descriptor(), *this);
  if (observed < 0) return fail_os(-observed, path_);
  running_ = true;
  return {};
}

void Export::Impl::socket_events(std::uint32_t) noexcept {
  accept_all();
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
                                .engine = thread_.engine(),
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
  const bool observed = thread_.observe(socket, **connection) == 0;
  Connection& added = *connection->release();
  if (!observed) added.stop();
}

void Export::Impl::end_connection(Connection& connection) noexcept {
  // Who only looks whether somebody listens is no client.
  client_was_there_ |= connection.has_spoken();
  connections_.erase(connections_.iterator_to(connection));
  delete &connection;
  counters_.connections.store(static_cast<std::uint32_t>(connections_.size()),
                              std::memory_order_relaxed);
  if (!connections_.empty()) return;
  if (stopping_) return finish_stop();
  if (std::exchange(client_was_there_, false) && options_.last_client_left) {
    options_.last_client_left();
  }
}

void Export::Impl::begin_stop() noexcept {
  stopping_ = true;
  listener_.reset();
  if (connections_.empty()) return finish_stop();
  for (auto& connection : connections_) connection.stop();
}

// The last thing that is done here: whoever is told may destroy us on another thread.
void Export::Impl::finish_stop() noexcept {
  const auto stopped = std::move(stopped_);
  stopped();
}

void Export::Impl::stop() {
  if (!running_) return;
  std::promise<void> stopped;
  stop([&] { stopped.set_value(); });
  stopped.get_future().wait();
}

void Export::Impl::stop(std::function<void()> stopped) {
  assert(running_ && !thread_.is_current());
  running_ = false;
  stopped_ = std::move(stopped);
  stop_task_.owner = this;
  stop_task_.run = [](Task& task) noexcept { static_cast<StopTask&>(task).owner->begin_stop(); };
  thread_.post(stop_task_);
}

Expected<std::unique_ptr<Export>> Export::start(ExportThread& thread, std::shared_ptr<Image> image,
                                                const std::string& path, ExportOptions options) {
  if (options.name.size() > kNameBytesMax) {
    return fail(Errc::bad_spec, "the name of an export has at most 255 bytes");
  }
  auto impl = std::make_unique<Impl>(thread, std::move(image), path, std::move(options));
  if (auto started = impl->start(); !started) return std::unexpected(std::move(started.error()));
  return std::unique_ptr<Export>(new Export(std::move(impl)));
}

Export::Export(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Export::~Export() = default;

void Export::stop() {
  impl_->stop();
}

void Export::stop(std::function<void()> stopped) {
  impl_->stop(std::move(stopped));
}

const std::string& Export::path() const {
  return impl_->path();
}

bool Export::read_only() const {
  return impl_->options().read_only;
}

const ExportCounters& Export::counters() const {
  return impl_->counters();
}

}  // namespace xenblk::nbd
