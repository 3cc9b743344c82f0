#include "ringio/worker.h"

#include <pthread.h>
#include <sched.h>

#include <cassert>
#include <ctime>
#include <future>
#include <thread>
#include <utility>

#include "ringio/buffer_pool.h"
#include "ringio/riding_events.h"
#include "ringio/uring_engine.h"
#include "ringio/worker_core.h"

namespace xenblk::ringio {
namespace {

class MonotonicClock final : public Clock {
 public:
  Instant now() const noexcept override {
    timespec now = {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return {static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
            static_cast<std::uint64_t>(now.tv_nsec)};
  }
};

Expected<void> prepare_thread(const WorkerOptions& options) {
  ::pthread_setname_np(::pthread_self(), options.name.substr(0, 15).c_str());
  if (!options.cpu) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(*options.cpu, &set);
  const int result = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
  if (result != 0) return fail_os(result, "pin worker to CPU " + std::to_string(*options.cpu));
  return {};
}

class ThreadWorker final : public Worker {
 public:
  explicit ThreadWorker(Xen& xen) : xen_(xen) {}
  ~ThreadWorker() override;

  Expected<void> start(const WorkerOptions& options);

  void connect(QueueSetup setup, ConnectDone done) override;
  void disconnect(QueueId queue, DisconnectDone done) override;
  void detach(QueueId queue, DisconnectDone done) override;
  void set_capacity(QueueId queue, SectorCount capacity, std::function<void()> done) override;
  void set_image(QueueId queue, std::shared_ptr<Image> image, std::function<void()> done) override;
  void age_grants(QueueId queue) override;
  void pause(QueueId queue, std::function<void()> done) override;
  void resume(QueueId queue) override;
  void wake() override;
  void set_polling(const PollingOptions& polling) override;
  const WorkerCounters& counters() const override { return core_->counters(); }

 private:
  // Allocated by the poster, freed when it has run. Control path only.
  struct Command : Task {
    ThreadWorker* owner = nullptr;
    std::function<void(WorkerCore&)> action;
  };
  struct EventWatch : Watch {
    WorkerCore* core = nullptr;
  };

  // Any thread: `action` runs once on the worker's thread, in order.
  void post(std::function<void(WorkerCore&)> action);
  void run(const WorkerOptions& options, std::promise<Expected<void>>& started);
  Expected<void> set_up(const WorkerOptions& options);
  Expected<void> open_handles(const WorkerOptions& options);
  void watch_events();
  void tear_down();

  Xen& xen_;  // only while it starts
  std::unique_ptr<EventChannels> channels_;
  std::unique_ptr<GrantTable> grants_;
  MonotonicClock clock_;
  // Made and destroyed on the worker's thread, as io_uring wants it.
  std::optional<Arena> arena_;
  std::optional<RidingEvents> riding_events_;  // where the channels' descriptor speaks ports
  std::unique_ptr<UringEngine> engine_;
  std::unique_ptr<WorkerCore> core_;
  EventWatch event_watch_;
  bool stop_ = false;  // the worker's thread only
  std::thread thread_;
};

Expected<void> ThreadWorker::start(const WorkerOptions& options) {
  std::promise<Expected<void>> started;
  auto result = started.get_future();
  thread_ = std::thread([&] { run(options, started); });
  return result.get();
}

void ThreadWorker::run(const WorkerOptions& options, std::promise<Expected<void>>& started) {
  auto ready = set_up(options);
  const bool good = ready.has_value();
  if (!good) tear_down();
  // `options` and `started` belong to start(), which returns now.
  started.set_value(std::move(ready));
  if (!good) return;
  while (!stop_) core_->pass(LoopEngine::kForever);
  tear_down();
}

Expected<void> ThreadWorker::set_up(const WorkerOptions& options) {
  if (auto prepared = prepare_thread(options); !prepared) return prepared;
  if (auto opened = open_handles(options); !opened) return opened;
  auto arena = Arena::make(options.arena_bytes);
  if (!arena) return std::unexpected(std::move(arena.error()));
  arena_.emplace(std::move(*arena));
  auto engine = UringEngine::make({.submission_entries = options.submission_entries,
                                   .fixed_memory = arena_->memory(),
                                   .restricted = options.restricted_ring});
  if (!engine) return std::unexpected(std::move(engine.error()));
  engine_ = std::move(*engine);
  EventChannels* channels = channels_.get();
  if (channels->fd_speaks_ports()) channels = &riding_events_.emplace(*channels_, *engine_);
  core_ = std::make_unique<WorkerCore>(WorkerParts{.engine = *engine_,
                                                   .channels = *channels,
                                                   .grants = *grants_,
                                                   .clock = clock_,
                                                   .arena = arena_->memory(),
                                                   .request_slots = options.request_slots,
                                                   .polling = options.polling});
  watch_events();
  return {};
}

// After the thread has its name, which the kernel gives to its interrupts too.
Expected<void> ThreadWorker::open_handles(const WorkerOptions& options) {
  auto channels = xen_.open_event_channels();
  if (!channels) return std::unexpected(std::move(channels.error()));
  auto grants = xen_.open_grant_table();
  if (!grants) return std::unexpected(std::move(grants.error()));
  channels_ = std::move(*channels);
  grants_ = std::move(*grants);
  if (options.cpu) channels_->prefer_cpu(*options.cpu);
  return {};
}

void ThreadWorker::watch_events() {
  if (riding_events_) {
    const auto signal = [](void* core) noexcept {
      static_cast<WorkerCore*>(core)->events_signalled();
    };
    riding_events_->start(signal, core_.get());
    return;
  }
  event_watch_.descriptor = channels_->fd();
  event_watch_.core = core_.get();
  event_watch_.ready = [](Watch& watch) noexcept {
    static_cast<EventWatch&>(watch).core->events_signalled();
  };
  engine_->watch(event_watch_);
}

void ThreadWorker::tear_down() {
  core_.reset();
  engine_.reset();
  riding_events_.reset();
  arena_.reset();
}

void ThreadWorker::post(std::function<void(WorkerCore&)> action) {
  auto command = std::make_unique<Command>();
  command->owner = this;
  command->action = std::move(action);
  command->run = [](Task& task) noexcept {
    const std::unique_ptr<Command> mine(static_cast<Command*>(&task));
    mine->action(*mine->owner->core_);
  };
  engine_->post(*command.release());
}

ThreadWorker::~ThreadWorker() {
  assert(std::this_thread::get_id() != thread_.get_id());
  if (engine_) post([this](WorkerCore&) { stop_ = true; });
  if (thread_.joinable()) thread_.join();
}

void ThreadWorker::connect(QueueSetup setup, ConnectDone done) {
  // std::function wants something that can be copied.
  auto shared = std::make_shared<QueueSetup>(std::move(setup));
  post([shared, done = std::move(done)](WorkerCore& core) {
    done(core.connect(std::move(*shared)));
  });
}

void ThreadWorker::disconnect(QueueId queue, DisconnectDone done) {
  post([queue, done = std::move(done)](WorkerCore& core) { core.disconnect(queue, done); });
}

void ThreadWorker::detach(QueueId queue, DisconnectDone done) {
  post([queue, done = std::move(done)](WorkerCore& core) { core.detach(queue, done); });
}

void ThreadWorker::set_capacity(QueueId queue, SectorCount capacity, std::function<void()> done) {
  post([queue, capacity, done = std::move(done)](WorkerCore& core) {
    core.set_capacity(queue, capacity);
    done();
  });
}

void ThreadWorker::set_image(QueueId queue, std::shared_ptr<Image> image,
                             std::function<void()> done) {
  post([queue, image = std::move(image), done = std::move(done)](WorkerCore& core) mutable {
    core.set_image(queue, std::move(image));
    done();
  });
}

void ThreadWorker::age_grants(QueueId queue) {
  post([queue](WorkerCore& core) { core.age_grants(queue); });
}

void ThreadWorker::pause(QueueId queue, std::function<void()> done) {
  post([queue, done = std::move(done)](WorkerCore& core) { core.pause(queue, done); });
}

void ThreadWorker::resume(QueueId queue) {
  post([queue](WorkerCore& core) { core.resume(queue); });
}

void ThreadWorker::wake() {
  post([](WorkerCore&) {});
}

void ThreadWorker::set_polling(const PollingOptions& polling) {
  post([polling](WorkerCore& core) { core.set_polling(polling); });
}

}  // namespace

Expected<std::unique_ptr<Worker>> Worker::start(Xen& xen, WorkerOptions options) {
  auto worker = std::make_unique<ThreadWorker>(xen);
  if (auto started = worker->start(options); !started) {
    return std::unexpected(std::move(started.error()));
  }
  return worker;
}

}  // namespace xenblk::ringio
