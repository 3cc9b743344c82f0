#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <deque>

#include "backend/backend.h"
#include "tests/sim/system/honest_guest.h"
#include "tests/sim/system/hostile_guest.h"
#include "tests/sim/system/sim_worker.h"
#include "tests/sim/system/sim_xen.h"
#include "tests/sim/system/slot_leak.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::sim {
namespace {

// A run takes some thousand steps; what takes so many has got stuck.
constexpr int kMostSteps = 400'000;
constexpr int kMostStepsToEnd = 200'000;

constexpr std::uint64_t kWishes = 0xda942042e4dd58b5;
constexpr std::uint64_t kLooks = 0x9b2e1f6a7c3d5841;

// What one seed has in it beside the guests' own dice.
struct Weather {
  bool quiet = false;  // no faults: every honest request must succeed
  StorageFaults storage;
  bool grants_fail = false;
  bool events_get_lost = false;
  bool store_conflicts = false;
  bool storage_stalls = false;
  bool restarts = false;
  bool kills = false;
  bool watch_storms = false;
  bool removals = false;
  std::uint64_t honest = 1;
  std::uint64_t hostile = 0;
  // What administrators want when the storage fails.
  backend::FailureWishes wishes;

  // Nobody closes a disk or ends the daemon while requests are kept, and nothing else fails.
  bool waits_for_everything() const {
    const auto pause = ringio::OnFailure::pause;
    return wishes.on_error == pause && wishes.on_no_space == pause && !grants_fail && !restarts &&
           !removals;
  }
  bool has_wishes() const { return wishes.on_error || wishes.on_no_space; }
};

Weather choose_weather(Dice& dice, const backend::FailureWishes& wishes) {
  Weather weather;
  weather.quiet = dice.one_in(3);
  weather.wishes = wishes;
  weather.honest = 1 + dice.below(3);
  weather.hostile = dice.below(3);
  weather.store_conflicts = dice.one_in(3);
  weather.storage_stalls = dice.one_in(3);
  weather.restarts = dice.one_in(2);
  weather.removals = dice.one_in(3);
  weather.events_get_lost = dice.one_in(4);
  weather.kills = dice.one_in(3);
  weather.watch_storms = dice.one_in(4);
  if (weather.quiet) return weather;
  weather.storage = {.errors = dice.one_in(2), .no_room = dice.one_in(3)};
  weather.grants_fail = dice.one_in(3);
  return weather;
}

// From dice of their own, so that the rest of a seed is as it was without.
backend::FailureWishes choose_wishes(Dice dice) {
  if (dice.one_in(2)) return {};
  const auto choose = [&] {
    return dice.one_in(4)   ? ringio::OnFailure::stop
           : dice.one_in(4) ? ringio::OnFailure::report
                            : ringio::OnFailure::pause;
  };
  return {choose(), choose()};
}

// How often the daemon looks at what a guest writes; from dice of their own, too.
backend::LookRate choose_looks(Dice dice) {
  if (dice.one_in(2)) return {};
  return {.burst = static_cast<std::uint32_t>(1 + dice.below(8)),
          .for_each_disk = static_cast<std::uint32_t>(dice.below(4)),
          .refill = std::chrono::microseconds(50 + dice.below(2000))};
}

class System {
 public:
  explicit System(const SystemPlan& plan);
  SystemResult run();

 private:
  void make_guests();
  std::unique_ptr<backend::EventLoop> make_loop() const;
  std::shared_ptr<spdlog::logger> make_log() const;
  void start_daemon();
  void step();
  void step_daemon();
  void step_storage();
  void step_guests();
  void make_trouble();
  void end();
  bool all_ended();
  bool run_until(const std::function<bool()>& done, int steps);
  void stop_daemon();
  void kill_daemon();
  void replace_daemon();
  void make_grants_fail();
  void check_nothing_left();
  void interfere();
  void fail(const std::string& wrong) {
    if (result_.wrong.empty()) result_.wrong = wrong;
  }
  void look_for_wrong();
  std::string where();

  const SystemPlan plan_;
  Dice dice_;
  const Weather weather_;
  VirtualClock clock_;
  Trace trace_;
  SystemResult result_;
  loopback::LoopbackXen xen_;
  SimXen daemons_xen_{xen_.host(), dice_, weather_.watch_storms};
  loopback::LoopbackToolstack toolstack_{xen_};
  std::map<std::string, std::unique_ptr<SimDisk>> disks_;  // by params
  std::vector<std::unique_ptr<HonestGuest>> honest_;
  std::vector<std::unique_ptr<HostileGuest>> hostile_;
  std::size_t destroyed_ = 0;  // of the hostile ones, from the first
  WorkerWorld workers_{dice_, clock_, {}, {}, {}, {}, {}, {}};
  std::deque<std::function<void()>> aside_;
  std::shared_ptr<spdlog::logger> log_ = make_log();
  std::unique_ptr<backend::EventLoop> loop_ = make_loop();
  std::unique_ptr<backend::Backend> backend_;
  backend::BackendOptions options_;
  std::optional<xenblk::test::TempDir> journals_;
};

System::System(const SystemPlan& plan)
    : plan_(plan),
      dice_(plan.seed * 0x9e3779b97f4a7c15 + 1),
      weather_(choose_weather(dice_, choose_wishes(Dice(plan.seed ^ kWishes)))) {
  make_guests();
  leak_slots(plan.sabotage == Sabotage::slot_leaked);
  if (weather_.kills) {
    journals_.emplace();
    options_.journal_directory = journals_->path("journal");
  }
  for (const auto& [params, disk] : disks_) workers_.storages.push_back(&disk->storage());
  workers_.interfere = [this] { interfere(); };
  workers_.touched = [this](DomainId peer, GrantRef page) {
    for (const auto& guest : honest_) {
      if (guest->disk().guest == peer) guest->slot_was_taken(page);
    }
  };
  workers_.sabotage = plan.sabotage;
  workers_.stalls = weather_.storage_stalls;
  options_.workers = static_cast<std::uint32_t>(1 + dice_.below(2));
  options_.worker.request_slots = dice_.one_in(2) ? 64 : 8;
  options_.worker.arena_bytes = std::size_t{2} << 20;
  if (dice_.one_in(3)) options_.worker.polling.window = std::chrono::microseconds(50);
  options_.offer.max_ring_order = static_cast<std::uint32_t>(dice_.below(3));
  options_.offer.max_queues = static_cast<std::uint32_t>(1 + dice_.below(3));
  options_.offer.persistent_grants = dice_.one_in(2);
  if (dice_.one_in(3)) options_.offer.max_indirect_segments = 0;
  if (dice_.one_in(5)) options_.offer.logical_sector_bytes = kPageBytes;
  options_.storage.of_all = weather_.wishes;
  options_.looks = choose_looks(Dice(plan.seed ^ kLooks));
  options_.open_image = [this](const std::string& params, Access access) {
    const auto found = disks_.find(params);
    if (found != disks_.end()) return found->second->open(access);
    return Expected<std::shared_ptr<Image>>(xenblk::fail(Errc::not_found, params));
  };
  options_.run_aside = [this](const std::function<void()>& work) { aside_.push_back(work); };
  options_.start_worker = [this](Xen& xen, const ringio::WorkerOptions& options) {
    return SimWorker::start(xen, options, workers_);
  };
}

std::unique_ptr<backend::EventLoop> System::make_loop() const {
  return std::move(*backend::EventLoop::make(
      [this] { return backend::EventLoop::Time(std::chrono::nanoseconds(clock_.now().ns)); }));
}

std::shared_ptr<spdlog::logger> System::make_log() const {
  if (!plan_.verbose) {
    return std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::null_sink_st>());
  }
  auto log =
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stdout_sink_st>());
  log->set_level(spdlog::level::debug);
  return log;
}

void System::make_guests() {
  std::uint16_t domain = 0;
  const auto make_disk = [&](const std::string& params) -> SimDisk& {
    return *(disks_[params] = std::make_unique<SimDisk>(dice_, weather_.storage, plan_.sabotage));
  };
  for (std::uint64_t i = 0; i < weather_.honest; ++i) {
    const GuestOptions options{
        .id = {++domain},
        .faults_allowed = !weather_.quiet && !weather_.waits_for_everything(),
        .events_get_lost = weather_.events_get_lost,
        .lives = static_cast<int>(1 + dice_.below(3)),
        .requests = static_cast<int>(20 + dice_.below(150)),
    };
    auto& disk = make_disk(fmt::format("sim:{}", domain));
    honest_.push_back(std::make_unique<HonestGuest>(xen_, toolstack_, disk, dice_, options));
  }
  for (std::uint64_t i = 0; i < weather_.hostile; ++i) {
    make_disk(fmt::format("sim:{}", ++domain)).hold_anything();
    hostile_.push_back(std::make_unique<HostileGuest>(xen_, toolstack_, DomainId{domain}, dice_));
  }
}

SystemResult System::run() {
  start_daemon();
  const auto worked = [this] {
    return std::ranges::all_of(honest_, &HonestGuest::ended) && dice_.one_in(50);
  };
  if (!run_until(worked, kMostSteps)) fail("does not get on: " + where());
  end();
  for (const auto& guest : honest_) result_.add(guest->result());
  for (const auto& guest : hostile_) result_.abuses += guest->abuses();
  for (const auto& [params, disk] : disks_) result_.crashes += disk->crashes();
  result_.trace = trace_.hash();
  return result_;
}

bool System::run_until(const std::function<bool()>& done, int steps) {
  for (; steps > 0 && result_.wrong.empty(); --steps) {
    if (done()) return true;
    step();
    look_for_wrong();
  }
  return !result_.wrong.empty();
}

void System::look_for_wrong() {
  for (const auto& guest : honest_) {
    if (!guest->wrong().empty()) fail(guest->wrong());
  }
  for (const auto& [params, disk] : disks_) {
    if (!disk->wrong().empty()) fail(params + ": " + disk->wrong());
  }
}

void System::step() {
  clock_.advance(std::chrono::nanoseconds(1000 + dice_.below(20'000)));
  if (weather_.has_wishes()) step_storage();
  switch (dice_.below(8)) {
    case 0:
    case 1:
      return step_daemon();
    case 2:
    case 3:
    case 4:
      if (!workers_.workers.empty()) {
        workers_.workers[dice_.below(workers_.workers.size())]->pass();
      }
      return;
    case 5:
      if (dice_.one_in(12)) make_trouble();
      return;
    default:
      return step_guests();
  }
}

void System::step_daemon() {
  auto& faults = xen_.faults();
  if (weather_.store_conflicts && dice_.one_in(4)) {
    faults.commit_conflicts.set(static_cast<std::uint32_t>(1 + dice_.below(3)));
    if (dice_.one_in(4)) faults.failed_writes.set(1);
  }
  if (!aside_.empty() && dice_.one_in(2)) {
    aside_.front()();
    aside_.pop_front();
  }
  loop_->turn();
  faults.commit_conflicts.set(0);
  faults.failed_writes.set(0);
  if (dice_.one_in(50)) loop_->tick();
}

// Where requests wait for their storage a step takes longer, and an administrator comes by.
void System::step_storage() {
  if (!dice_.one_in(20)) return;
  if (!std::ranges::any_of(backend_->devices(), [](const auto& one) {
        const auto status = one.second->status();
        return status.storage_waits || status.storage_stopped;
      })) {
    return;
  }
  clock_.advance(std::chrono::milliseconds(dice_.below(400)));
  if (!dice_.one_in(100)) return;
  for (const auto& [key, device] : backend_->devices()) static_cast<void>(device->resume());
}

void System::step_guests() {
  const auto which = dice_.below(honest_.size() + hostile_.size() - destroyed_);
  if (which < honest_.size()) return honest_[which]->step(trace_);
  hostile_[destroyed_ + which - honest_.size()]->step();
}

void System::interfere() {
  if (destroyed_ == hostile_.size() || !dice_.one_in(4)) return;
  hostile_[destroyed_ + dice_.below(hostile_.size() - destroyed_)]->interfere();
}

void System::make_trouble() {
  auto& faults = xen_.faults();
  switch (dice_.below(5)) {
    case 0:
      return make_grants_fail();
    case 1:
      if (!weather_.events_get_lost) return;
      return dice_.one_in(2) ? faults.lost_events.set(1) : faults.doubled_events.set(2);
    case 2:
      if (weather_.storage.no_room) disks_.begin()->second->change_room();
      return;
    case 3: {
      const auto& guest = *honest_[dice_.below(honest_.size())];
      if (weather_.removals && !guest.ended()) toolstack_.request_removal(guest.disk());
      return;
    }
    default:
      return replace_daemon();
  }
}

void System::make_grants_fail() {
  if (!weather_.grants_fail) return;
  auto& faults = xen_.faults();
  faults.refuse_copy.set(static_cast<std::uint32_t>(1 + dice_.below(20)));
  // A daemon that cannot map a ring that it takes over cannot answer what is in it.
  if (weather_.restarts || weather_.kills) return;
  if (dice_.one_in(4)) faults.refuse_map.set(1);
  if (dice_.one_in(4)) faults.map_without_memory.set(1);
  if (dice_.one_in(4)) faults.refuse_bind.set(1);
}

void System::replace_daemon() {
  if (weather_.kills && dice_.one_in(2)) {
    kill_daemon();
    ++result_.kills;
  } else if (weather_.restarts && dice_.one_in(4)) {
    stop_daemon();
    ++result_.restarts;
  } else {
    return;
  }
  if (result_.wrong.empty()) start_daemon();
}

void System::start_daemon() {
  auto started = backend::Backend::start(daemons_xen_, *loop_, options_, *log_);
  if (!started) return fail("the daemon does not start: " + describe(started.error()));
  backend_ = std::move(*started);
}

// As SIGTERM: everything is given back, and guests wait for the next daemon.
void System::stop_daemon() {
  bool detached = false;
  backend_->detach([&] { detached = true; });
  // Not make_trouble(), which this may be called from.
  for (int steps = kMostStepsToEnd; steps > 0 && !detached && result_.wrong.empty(); --steps) {
    clock_.advance(std::chrono::nanoseconds(1000 + dice_.below(20'000)));
    if (dice_.one_in(3)) {
      step_daemon();
    } else if (dice_.one_in(2)) {
      workers_.workers[dice_.below(workers_.workers.size())]->pass();
    } else {
      step_guests();
    }
    look_for_wrong();
  }
  if (!detached) return fail("the daemon does not detach: " + where());
  check_nothing_left();
  if (!result_.wrong.empty()) return;
  backend_.reset();
  loop_ = make_loop();
}

// As SIGKILL. What the daemon was made of stays in memory, as a process has no last words.
void System::kill_daemon() {
  static auto& dead = *new std::vector<std::unique_ptr<backend::Backend>>;
  for (auto* worker : std::vector(workers_.workers)) worker->die();
  daemons_xen_.store().die();
  for (const auto& [params, disk] : disks_) disk->lose_users();
  dead.push_back(std::move(backend_));
  aside_.clear();
  loop_ = make_loop();
}

void System::check_nothing_left() {
  for (const auto* worker : workers_.workers) {
    if (worker->counters().queues.get() > 0) fail("a worker still has queues");
    if (worker->counters().slots_in_use.get() > 0) fail("request slots have leaked");
  }
  for (const auto& [params, disk] : disks_) {
    if (disk->users() > 0) fail(params + " is still open");
  }
  if (xen_.usage().mapped_pages > 0) fail("pages are still mapped");
  if (xen_.usage().bound_ports > 0) fail("ports are still bound");
  if (xen_.usage().transactions > 0) fail("transactions are still open");
}

// Hostile domains are destroyed while they are at it; then every device closes.
void System::end() {
  for (const auto& [params, disk] : disks_) disk->end_faults();
  xen_.faults().refuse_copy.set(0);
  xen_.faults().refuse_map.set(0);
  xen_.faults().map_without_memory.set(0);
  xen_.faults().refuse_bind.set(0);
  for (; destroyed_ < hostile_.size(); ++destroyed_) hostile_[destroyed_]->destroy();
  if (result_.wrong.empty() && !run_until([this] { return all_ended(); }, kMostStepsToEnd)) {
    fail("does not close: " + where());
  }
  if (!result_.wrong.empty()) return;
  stop_daemon();
  if (xen_.usage().watches > 0) fail("watches are left");
}

bool System::all_ended() {
  if (!std::ranges::all_of(hostile_, &HostileGuest::is_closed)) return false;
  return backend_->devices().empty();
}

std::string System::where() {
  std::string text;
  for (const auto& guest : honest_) {
    text += fmt::format("{}, backend {}; ", guest->where(),
                        toolstack_.backend_state(guest->disk()).value_or("gone"));
  }
  for (const auto& guest : hostile_) {
    text += fmt::format("hostile guest {}, backend {}; ", guest->disk().guest.n,
                        toolstack_.backend_state(guest->disk()).value_or("gone"));
  }
  return text;
}

}  // namespace

SystemResult run_system(const SystemPlan& plan) {
  auto system = std::make_unique<System>(plan);
  auto result = system->run();
  leak_slots(false);
  // Where something is wrong the parts cannot be taken down in order; they stay as they are.
  static std::vector<std::unique_ptr<System>>& wrecks = *new std::vector<std::unique_ptr<System>>;
  if (!result.wrong.empty()) wrecks.push_back(std::move(system));
  return result;
}

}  // namespace xenblk::sim
