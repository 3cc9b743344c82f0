// A worker without a thread: the simulation runs its loop, pass by pass, and stands between it and
// the loopback Xen.
#pragma once

#include <poll.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "backend/platform/loopback/grant_table.h"
#include "ringio/buffer_pool.h"
#include "ringio/shared_memory.h"
#include "ringio/worker.h"
#include "ringio/worker_core.h"
#include "tests/sim/system/plan.h"
#include "tests/sim/system/sim_engine.h"

namespace xenblk::sim {

// A ring that a worker has mapped, for the bugs that are put there.
struct SpiedRing {
  DomainId peer;
  blkif::Layout layout = blkif::Layout::native;
  std::vector<GrantRef> refs;
  std::byte* memory = nullptr;
  std::uint32_t responses = 0;  // seen

  std::uint32_t entries() const {
    return blkif::ring_entries(layout, static_cast<std::uint32_t>(refs.size()));
  }
  std::size_t slot(std::uint32_t index) const {
    return blkif::RingOffsets::slots + (index & (entries() - 1)) * blkif::offsets(layout).slot;
  }
  // Where the first segment stands that names this page.
  std::optional<std::size_t> place_of(GrantRef page) const {
    for (std::uint32_t i = 0; i < entries(); ++i) {
      for (std::size_t segment = 0; segment < blkif::kMaxSegments; ++segment) {
        const auto at =
            slot(i) + blkif::offsets(layout).seg + segment * blkif::SegmentOffsets::size;
        if (ringio::load_shared<std::uint32_t>(memory, at) == page.n) return at;
      }
    }
    return std::nullopt;
  }
  // The guest sees the last response twice.
  void answer_twice() {
    using blkif::RingOffsets;
    const auto end = ringio::load_shared<std::uint32_t>(memory, RingOffsets::rsp_prod);
    if (end == std::exchange(responses, end)) return;
    std::memcpy(memory + slot(end), memory + slot(end - 1), blkif::offsets(layout).rsp_size);
    ringio::store_shared<std::uint32_t>(memory, RingOffsets::rsp_prod, end + 1);
  }
};

// Grants as the worker sees them. A guest does not stand still between two calls: `interfere` runs
// around each of them, and `touched` before a page is copied.
class SpiedGrants final : public GrantTable {
 public:
  using Touched = std::function<void(DomainId, GrantRef)>;
  SpiedGrants(std::unique_ptr<GrantTable> real, std::function<void()> interfere, Touched touched,
              Sabotage sabotage)
      : real_(std::move(real)),
        interfere_(std::move(interfere)),
        touched_(std::move(touched)),
        sabotage_(sabotage) {}
  ~SpiedGrants() override {
    if (real_) copy_late();
  }

  Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs,
                             Access access) override {
    interfere_();
    auto mapping = real_->map(peer, refs, access);
    if (mapping)
      last_mapped_ = {
          .peer = peer, .refs = {refs.begin(), refs.end()}, .memory = mapping->address()};
    return mapping;
  }
  void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) override {
    interfere_();
    if (!segments.empty()) touch(peer, segments);
    if (sabotage_ == Sabotage::read_too_early && direction == CopyDirection::to_guest)
      return put_off(peer, segments);
    real_->copy(peer, segments, direction);
    interfere_();
  }
  // What a worker that answers too early would do after its answer.
  void copy_late() {
    for (auto& late : late_) real_->copy(late.peer, late.segments, CopyDirection::to_guest);
    late_.clear();
  }
  void unmap_late() { kept_.clear(); }
  void die() {
    kept_.clear();
    static_cast<loopback::LoopbackGrantTable&>(*real_).release_all();
    real_.reset();
  }
  const SpiedRing& last_mapped() const { return last_mapped_; }
  std::map<ringio::QueueId, SpiedRing>& rings() { return rings_; }

 private:
  struct Late {
    DomainId peer;
    std::vector<GrantCopy> segments;
  };
  void put_off(DomainId peer, std::span<GrantCopy> segments) {
    for (auto& segment : segments) segment.status = CopyStatus::okay;
    late_.push_back({peer, {segments.begin(), segments.end()}});
  }
  void touch(DomainId peer, std::span<GrantCopy> segments) {
    auto& page = segments.front().ref;
    if (sabotage_ == Sabotage::unmapped_late) {
      if (auto kept = real_->map(peer, {&page, 1}, Access::read_only)) {
        kept_.push_back(std::move(*kept));
      }
    }
    const std::byte* memory = nullptr;
    std::size_t place = 0;
    for (const auto& [id, ring] : rings_) {
      if (sabotage_ != Sabotage::fetched_twice || ring.peer != peer) continue;
      if (const auto found = ring.place_of(page)) memory = ring.memory, place = *found;
    }
    touched_(peer, page);
    if (memory != nullptr) std::memcpy(&page.n, memory + place, sizeof page.n);
  }
  // Mappings are the real table's own.
  void unmap(std::byte*, std::size_t) noexcept override {}

  std::unique_ptr<GrantTable> real_;
  std::function<void()> interfere_;
  Touched touched_;
  const Sabotage sabotage_;
  std::vector<Late> late_;
  std::vector<GrantMapping> kept_;
  SpiedRing last_mapped_;
  std::map<ringio::QueueId, SpiedRing> rings_;
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
  void die() { real_.reset(); }
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
        grants_(std::move(grants), world.interfere, world.touched, world.sabotage),
        engine_(world.dice, world.clock, world.storages),
        arena_(std::move(*ringio::Arena::make(options.arena_bytes))),
        core_({.engine = engine_,
               .channels = channels_,
               .grants = grants_,
               .clock = world.clock,
               .arena = arena_->memory(),
               .request_slots = options.request_slots,
               .polling = options.polling}) {
    world_.workers.push_back(this);
  }
  ~SimWorker() override { std::erase(world_.workers, this); }

  void connect(ringio::QueueSetup setup, ConnectDone done) override {
    auto shared = std::make_shared<ringio::QueueSetup>(std::move(setup));
    commands_.push_back(
        [this, shared, done = std::move(done)] { done(connect_now(std::move(*shared))); });
  }
  void disconnect(ringio::QueueId queue, DisconnectDone done) override {
    commands_.push_back([this, queue, done = std::move(done)] {
      grants_.rings().erase(queue);
      core_.disconnect(queue, done);
    });
  }
  void detach(ringio::QueueId queue, DisconnectDone done) override {
    commands_.push_back([this, queue, done = std::move(done)] { core_.detach(queue, done); });
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
    grants_.unmap_late();
    for (; !commands_.empty(); commands_.pop_front()) commands_.front()();
    pollfd events = {channels_.fd(), POLLIN, 0};
    if (::poll(&events, 1, 0) == 1) core_.events_signalled();
    core_.pass(ringio::LoopEngine::kForever);
    grants_.copy_late();
    if (world_.sabotage != Sabotage::answered_twice || !world_.dice.one_in(20)) return;
    for (auto& [id, ring] : grants_.rings()) ring.answer_twice();
  }

  // As SIGKILL: nothing of it runs any more, and the kernel takes back what it had. It has to stay
  // in memory, for what still points to it.
  void die() {
    engine_.die();
    grants_.die();
    channels_.die();
    arena_.reset();
    std::erase(world_.workers, this);
  }

 private:
  Expected<ringio::QueueId> connect_now(ringio::QueueSetup setup) {
    const auto layout = setup.layout;
    const auto refs = setup.ring_refs;
    auto queue = core_.connect(std::move(setup));
    if (!queue || grants_.last_mapped().refs != refs) return queue;
    auto& ring = grants_.rings()[*queue] = grants_.last_mapped();
    ring.layout = layout;
    ring.responses = ringio::load_shared<std::uint32_t>(ring.memory, blkif::RingOffsets::rsp_prod);
    return queue;
  }

  WorkerWorld& world_;
  SpiedChannels channels_;
  SpiedGrants grants_;
  SimEngine engine_;
  std::optional<ringio::Arena> arena_;
  ringio::WorkerCore core_;
  std::deque<std::function<void()>> commands_;
};

}  // namespace xenblk::sim
