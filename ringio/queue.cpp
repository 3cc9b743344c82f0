#include "ringio/queue.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace xenblk::ringio {
namespace {

Expected<void> check(const QueueSetup& setup) {
  const auto& refs = setup.ring_refs;
  if (refs.empty() || refs.size() > blkif::kMaxRingPages || !std::has_single_bit(refs.size())) {
    return fail(Errc::refused, "impossible number of ring pages");
  }
  for (auto ref = refs.begin(); ref != refs.end(); ++ref) {
    if (std::find(std::next(ref), refs.end(), *ref) != refs.end()) {
      return fail(Errc::refused, "the same page twice in one ring");
    }
  }
  const std::uint32_t sector_bytes = setup.logical_sector_bytes;
  if (!std::has_single_bit(sector_bytes) || sector_bytes < kSectorBytes ||
      sector_bytes > kPageBytes) {
    return fail(Errc::refused, "impossible logical sector size");
  }
  if (setup.indirect_segments_max > blkif::kMaxIndirectSegments) {
    return fail(Errc::refused, "impossible number of indirect segments");
  }
  return {};
}

}  // namespace

Expected<std::unique_ptr<Queue>> Queue::make(QueueId id, QueueSetup setup, GrantTable& grants,
                                             EventChannels& channels) {
  assert(setup.image != nullptr);
  if (auto sound = check(setup); !sound) return std::unexpected(std::move(sound.error()));
  auto mapping = grants.map(setup.peer, setup.ring_refs, Access::read_write);
  if (!mapping) return std::unexpected(std::move(mapping.error()));
  const auto pages = static_cast<std::uint32_t>(setup.ring_refs.size());
  auto ring = setup.journal
                  ? JournaledRing::attach(mapping->address(), pages, setup.layout, *setup.journal)
              : setup.storage.policy.pauses()
                  ? JournaledRing::attach_remembering(mapping->address(), pages, setup.layout)
                  : JournaledRing::attach(mapping->address(), pages, setup.layout);
  if (!ring) return std::unexpected(std::move(ring.error()));
  std::unique_ptr<Queue> queue(
      new Queue(id, std::move(setup), channels, std::move(*mapping), std::move(*ring)));
  auto port = channels.bind(queue->peer(), queue->setup_.remote_port);
  if (!port) return std::unexpected(std::move(port.error()));
  if (queue->setup_.persistent_grants) {
    queue->grant_cache_.emplace(grants, queue->peer(), queue->persistent_pages_max());
  }
  queue->port_ = *port;
  queue->bound_ = true;
  return queue;
}

Queue::Queue(QueueId id, QueueSetup setup, EventChannels& channels, GrantMapping mapping,
             JournaledRing ring)
    : id_(id),
      setup_(std::move(setup)),
      limits_{.capacity = setup_.image->capacity(),
              .access = setup_.access,
              .logical_sector_bytes = setup_.logical_sector_bytes,
              .offer_flush = setup_.offer_flush,
              .offer_barrier = setup_.offer_barrier,
              .offer_discard = setup_.offer_discard,
              .indirect_segments_max = setup_.indirect_segments_max},
      channels_(channels),
      mapping_(std::move(mapping)),
      ring_(std::move(ring)) {
  if (!setup_.counters) setup_.counters = std::make_shared<QueueCounters>();
  auto& refuses = setup_.storage.refuses;
  if (!refuses) refuses = std::make_shared<std::atomic<bool>>();
}

// What a frontend that plays along can have in use at once, up to what Linux's backend keeps: 32
// requests of 33 pages.
std::size_t Queue::persistent_pages_max() const {
  constexpr std::size_t kMost = 32 * 33;
  const std::size_t each = std::max(setup_.indirect_segments_max, blkif::kMaxSegments);
  return std::min(ring_.entries() * each, kMost);
}

Queue::~Queue() {
  assert(in_flight_ == 0);
  assert(!ready() && !unpublished() && !watched());
  ring_.end();
  if (bound_) channels_.unbind(port_);
}

void Queue::report(Trouble trouble, std::uint64_t detail) {
  counters()[trouble].add(1);
  bool& reported = reported_[static_cast<std::size_t>(trouble)];
  if (reported) return;
  reported = true;
  if (setup_.notice) setup_.notice({trouble, detail});
}

void Queue::report_slow(SlowRequest request, Instant now) {
  constexpr std::uint64_t kIntervalNs = 1'000'000'000;
  if (now.ns - slow_told_at_.ns < kIntervalNs) {
    ++slow_untold_;
    return;
  }
  slow_told_at_ = now;
  request.untold = std::exchange(slow_untold_, 0);
  if (setup_.slow.tell) setup_.slow.tell(request);
}

void Queue::stop() {
  assert(!stopped_);
  stopped_ = true;
  counters().ring_stopped.set(1);
  report(Trouble::ring_overrun, ring_.distance());
}

void Queue::close(std::function<void()> done) {
  closing_ = true;
  leaves_open_ = false;
  closed_.push_back(std::move(done));
}

void Queue::leave_to_next(std::function<void()> done) {
  assert(can_be_left() && !closing_);
  close(std::move(done));
  leaves_open_ = true;
}

void Queue::pause(std::function<void()> done) {
  paused_ = true;
  pausing_.push_back(std::move(done));
}

OnFailure Queue::react_to(const StorageFailure& failure, SectorIndex first) {
  const auto reaction = reaction_to(failure, setup_.storage.policy);
  if (reaction == OnFailure::stop) {
    const bool news = !setup_.storage.refuses->exchange(true, std::memory_order_relaxed);
    if (news && setup_.storage.tell) {
      setup_.storage.tell({StorageNotice::Change::stopped, failure, first});
    }
  }
  const bool keeps = !stopped_ && !refuses() && (!closing_ || leaves_open_);
  return reaction == OnFailure::pause && !keeps ? OnFailure::report : reaction;
}

bool Queue::hold(const StorageNotice& notice, Instant now) {
  const bool news = !recovery_.troubled();
  recovery_.hold(now);
  if (news && setup_.storage.tell) setup_.storage.tell(notice);
  return news;
}

void Queue::recover() {
  recovery_.recover();
  count_kept();
  if (setup_.storage.tell) setup_.storage.tell({.change = StorageNotice::Change::recovered});
}

void Queue::enter(RequestSlot& slot) {
  assert(serving());
  assert(slot.step() == Step::taken);
  slot.queue = this;
  ++in_flight_;
  ++share->slots;
  share->bytes += memory_of(slot.request);
  counters().in_flight.set(in_flight_);
  if (slot.request.op == blkif::Op::write_barrier) barrier_ = &slot;
}

void Queue::leave(RequestSlot& slot) {
  assert(slot.queue == this);
  assert(slot.step() == Step::answered || slot.step() == Step::put_off);
  assert(in_flight_ != 0);
  --in_flight_;
  --share->slots;
  share->bytes -= memory_of(slot.request);
  counters().in_flight.set(in_flight_);
  if (barrier_ == &slot) barrier_ = nullptr;
}

RequestSlot* Queue::barrier_to_start() {
  return in_flight_ == 1 ? waiting_barrier() : nullptr;
}

RequestSlot* Queue::waiting_barrier() {
  if (barrier_ == nullptr) return nullptr;
  // It may be under way already, or have failed and be about to be answered.
  const bool waits = barrier_->step() != Step::at_image && barrier_->answer == blkif::Status::okay;
  return waits ? barrier_ : nullptr;
}

}  // namespace xenblk::ringio
