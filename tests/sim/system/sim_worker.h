// A worker without a thread: the simulation runs its loop, pass by pass, and stands between it and
// the loopback Xen.
#pragma once

#include <poll.h>

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "ringio/buffer_pool.h"
#include "ringio/worker.h"
#include "ringio/worker_core.h"
#include "tests/sim/system/plan.h"
#include "tests/sim/system/sim_engine.h"

namespace xenblk::sim {

// Grants as the worker sees them. A guest does not stand still between two calls: `interfere` runs
// around each of them, and `touched` before a page is copied.
class SpiedGrants final : public GrantTable {
 public:
  using Touched = std::function<void(DomainId, GrantRef)>;
  SpiedGrants(std::unique_ptr<GrantTable> real, std::function<void()> interfere, Touched touched,
              bool copies_late)
      : real_(std::move(real)),
        interfere_(std::move(interfere)),
        touched_(std::move(touched)),
        copies_late_(copies_late) {}
  ~SpiedGrants() override { copy_late(); }

  Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs,
                             Access access) override {
    interfere_();
    return real_->map(peer, refs, access);
  }
  void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) override {
    interfere_();
    if (!segments.empty()) touched_(peer, segments.front().ref);
    if (copies_late_ && direction == CopyDirection::to_guest) return put_off(peer, segments);
    real_->copy(peer, segments, direction);
    interfere_();
  }
  // What a worker that answers too early would do after its answer.
  void copy_late() {
    for (auto& late : late_) real_->copy(late.peer, late.segments, CopyDirection::to_guest);
    late_.clear();
  }

 private:
  struct Late {
    DomainId peer;
    std::vector<GrantCopy> segments;
  };
  void put_off(DomainId peer, std::span<GrantCopy> segments) {
    for (auto& segment : segments) segment.status = CopyStatus::okay;
    late_.push_back({peer, {segments.begin(), segments.end()}});
  }
  // Mappings are the real table's own.
  void unmap(std::byte*, std::size_t) noexcept override {}

  std::unique_ptr<GrantTable> real_;
  std::function<void()> interfere_;
  Touched touched_;
  bool copies_late_;
  std::vector<Late> late_;
};

class SpiedChannels final : public EventChannels {
 public:
  SpiedChannels(std::unique_ptr<EventChannels> real, std::function<void()> interfere)
      : real_(std::move(real)), interfere_(std::move(interfere)) {}
  Expected<EventPort> bind(DomainId peer, EventPort remote) override {
    interfere_();
    return real_->bind(peer, remote);
  }
  void unbind(EventPort local) noexcept override { real_->unbind(local); }
  void notify(EventPort local) noexcept override {
    interfere_();
    real_->notify(local);
  }
  int fd() const override { return real_->fd(); }
  std::size_t take_pending(std::span<EventPort> out) noexcept override {
    interfere_();
    return real_->take_pending(out);
  }
  void unmask(std::span<const EventPort> ports) noexcept override {
    interfere_();
    real_->unmask(ports);
  }

 private:
  std::unique_ptr<EventChannels> real_;
  std::function<void()> interfere_;
};

// What the workers of a simulation have in common; borrowed, and longer-lived.
struct WorkerWorld {
  Dice& dice;
  VirtualClock& clock;
  std::vector<power_cut::SimStorage*> storages;
  std::function<void()> interfere;
  SpiedGrants::Touched touched;  // the backend is about to copy this page
  Sabotage sabotage = Sabotage::none;
  bool stalls = false;
  std::vector<class SimWorker*> workers;  // that live
};

class SimWorker final : public ringio::Worker {
 public:
  static Expected<std::unique_ptr<ringio::Worker>> start(Xen& xen,
                                                         const ringio::WorkerOptions& options,
                                                         WorkerWorld& world) {
    auto channels = xen.open_event_channels();
    if (!channels) return std::unexpected(channels.error());
    auto grants = xen.open_grant_table();
    if (!grants) return std::unexpected(grants.error());
    return std::make_unique<SimWorker>(std::move(*channels), std::move(*grants), options, world);
  }
  SimWorker(std::unique_ptr<EventChannels> channels, std::unique_ptr<GrantTable> grants,
            const ringio::WorkerOptions& options, WorkerWorld& world)
      : world_(world),
        channels_(std::move(channels), world.interfere),
        grants_(std::move(grants), world.interfere, world.touched,
                world.sabotage == Sabotage::read_too_early),
        engine_(world.dice, world.clock, world.storages),
        arena_(*ringio::Arena::make(options.arena_bytes)),
        core_({.engine = engine_,
               .channels = channels_,
               .grants = grants_,
               .clock = world.clock,
               .arena = arena_.memory(),
               .request_slots = options.request_slots,
               .polling = options.polling}) {
    world_.workers.push_back(this);
  }
  ~SimWorker() override { std::erase(world_.workers, this); }

  void connect(ringio::QueueSetup setup, ConnectDone done) override {
    auto shared = std::make_shared<ringio::QueueSetup>(std::move(setup));
    commands_.push_back(
        [this, shared, done = std::move(done)] { done(core_.connect(std::move(*shared))); });
  }
  void disconnect(ringio::QueueId queue, DisconnectDone done) override {
    commands_.push_back([this, queue, done = std::move(done)] { core_.disconnect(queue, done); });
  }
  void set_capacity(ringio::QueueId queue, SectorCount capacity,
                    std::function<void()> done) override {
    commands_.push_back([this, queue, capacity, done = std::move(done)] {
      core_.set_capacity(queue, capacity);
      done();
    });
  }
  void set_image(ringio::QueueId queue, std::shared_ptr<Image> image,
                 std::function<void()> done) override {
    commands_.push_back([this, queue, image = std::move(image), done = std::move(done)]() mutable {
      core_.set_image(queue, std::move(image));
      done();
    });
  }
  void age_grants(ringio::QueueId queue) override {
    commands_.push_back([this, queue] { core_.age_grants(queue); });
  }
  void pause(ringio::QueueId queue, std::function<void()> done) override {
    commands_.push_back([this, queue, done = std::move(done)] { core_.pause(queue, done); });
  }
  void resume(ringio::QueueId queue) override {
    commands_.push_back([this, queue] { core_.resume(queue); });
  }
  void wake() override {}  // every pass is one
  void set_polling(const ringio::PollingOptions& polling) override {
    commands_.push_back([this, polling] { core_.set_polling(polling); });
  }
  const ringio::WorkerCounters& counters() const override { return core_.counters(); }

  void pass() {
    engine_.stalls = world_.stalls;
    for (; !commands_.empty(); commands_.pop_front()) commands_.front()();
    pollfd events = {channels_.fd(), POLLIN, 0};
    if (::poll(&events, 1, 0) == 1) core_.events_signalled();
    core_.pass(ringio::LoopEngine::kForever);
    grants_.copy_late();
  }

 private:
  WorkerWorld& world_;
  SpiedChannels channels_;
  SpiedGrants grants_;
  SimEngine engine_;
  ringio::Arena arena_;
  ringio::WorkerCore core_;
  std::deque<std::function<void()>> commands_;
};

}  // namespace xenblk::sim
