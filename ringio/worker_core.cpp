#include "ringio/worker_core.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace xenblk::ringio {
namespace {

// Segments in one grant copy: enough that the system call no longer counts.
constexpr std::size_t kCopySegmentsMax = 1024;

}  // namespace

WorkerCore::WorkerCore(const WorkerParts& parts)
    : engine_(parts.engine),
      channels_(parts.channels),
      grants_(parts.grants),
      clock_(parts.clock),
      slots_(parts.request_slots),
      buffers_(parts.arena),
      mover_(parts.grants, kCopySegmentsMax),
      poller_(parts.polling) {}

WorkerCore::~WorkerCore() {
  assert(queues_.empty());
}

void WorkerCore::pass(std::chrono::nanoseconds patience) noexcept {
  counters_.passes.add(1);
  now_ = clock_.now();
  if (!throttled_.empty()) wake_throttled();
  look_at_watched();
  if (events_signalled_) take_events();
  take_requests();
  move_tables_in();
  move_data_in();
  patience = patience_of_pass(patience);
  // Before the engine may sleep. Each event a guest sends costs us one pass like this one, no more.
  unmask_idle();
  engine_.turn(patience);
  turned_at_ = clock_.now();
  move_data_out();
  answer_finished();
  if (!failed_.empty()) put_off_failed();
  if (troubled_ != 0) look_at_troubled();
  if (closing_ != 0) refuse_abandoned();
  publish();
  if (pausing_ != 0) tell_paused();
  if (closing_ != 0) remove_drained();
}

// True when the next turn must not wait: nothing would wake us for this.
bool WorkerCore::has_work() const noexcept {
  if (events_signalled_ || !unpublished_.empty() || !finished_.empty()) return true;
  // Whoever starves is woken by the completion that frees what it needs, or to let others pass.
  assert(!starved_ || slots_.in_use() != 0);
  if (!ready_.empty() && !starved_) return true;
  if (closing_ + pausing_ == 0) return false;
  return std::ranges::any_of(queues_, [](const auto& q) {
    return q->drained() || q->abandons_kept() || q->has_come_to_rest();
  });
}

Expected<QueueId> WorkerCore::connect(QueueSetup setup) {
  if (setup.indirect_segments_max != 0 && buffers_.size_bytes() < kIndirectArenaBytes) {
    return fail(Errc::refused, "too little memory for indirect requests");
  }
  auto made = Queue::make({next_queue_id_}, std::move(setup), grants_, channels_);
  if (!made) return std::unexpected(std::move(made.error()));
  ++next_queue_id_;
  Queue& queue = **made;
  queue.core = this;
  queue.guest = &guest_of(queue.peer());
  ++queue.guest->queues;
  queue.share = &share_of(queue);
  ++queue.share->queues;
  by_port_[queue.port().n] = &queue;
  queues_.push_back(std::move(*made));
  unmask_.reserve(queues_.size());
  counters_.queues.set(queues_.size());
  // Whoever served the ring before may have published without having sent the event.
  if (queue.ring().was_in_use()) {
    if (queue.ring().has_unpublished()) static_cast<void>(queue.ring().publish());
    channels_.notify(queue.port());
  }
  // The port is pending from the start, but a queue that is connected to a full ring needs no
  // event.
  make_ready(queue);
  return queue.id();
}

void WorkerCore::disconnect(QueueId id, std::function<void()> done) {
  Queue* queue = find(id);
  if (queue == nullptr) {
    done();
    return;
  }
  stop_serving(*queue);
  if (!queue->closing()) ++closing_;
  queue->close(std::move(done));
}

void WorkerCore::detach(QueueId id, std::function<void()> done) {
  Queue* queue = find(id);
  if (queue == nullptr || !queue->can_be_left() || queue->closing()) {
    return disconnect(id, std::move(done));
  }
  stop_serving(*queue);
  ++closing_;
  queue->leave_to_next(std::move(done));
}

void WorkerCore::set_capacity(QueueId id, SectorCount capacity) {
  if (Queue* queue = find(id)) queue->set_capacity(capacity);
}

void WorkerCore::set_image(QueueId id, std::shared_ptr<Image> image) {
  if (Queue* queue = find(id)) queue->set_image(std::move(image));
}

void WorkerCore::age_grants(QueueId id) {
  auto* const queue = find(id);
  if (queue != nullptr && queue->grant_cache() != nullptr) queue->grant_cache()->age();
}

void WorkerCore::pause(QueueId id, std::function<void()> done) {
  Queue* queue = find(id);
  if (queue == nullptr) {
    done();
    return;
  }
  stop_serving(*queue);
  if (!queue->pausing()) ++pausing_;
  queue->pause(std::move(done));
}

void WorkerCore::resume(QueueId id) {
  Queue* queue = find(id);
  if (queue == nullptr) return;
  queue->resume();
  queue->recovery().retry_at_once();
  make_ready(*queue);
  if (!queue->pausing()) return;
  --pausing_;
  for (const auto& done : queue->take_paused()) done();
}

void WorkerCore::tell_paused() {
  for (const auto& queue : queues_) {
    if (!queue->has_come_to_rest()) continue;
    --pausing_;
    for (const auto& done : queue->take_paused()) done();
  }
}

Queue* WorkerCore::find(QueueId id) noexcept {
  const auto found = std::ranges::find_if(queues_, [&](const auto& q) { return q->id() == id; });
  return found == queues_.end() ? nullptr : found->get();
}

// Its port stays as it is: an event that comes is found when it is served again.
void WorkerCore::stop_serving(Queue& queue) noexcept {
  if (queue.watched()) watched_.erase(watched_.iterator_to(queue));
  if (!queue.ready()) return;
  auto& list = queue.throttled ? throttled_ : ready_;
  list.erase(list.iterator_to(queue));
  queue.throttled = false;
}

Guest& WorkerCore::guest_of(DomainId peer) {
  const auto found = std::ranges::find_if(guests_, [&](const auto& g) { return g->peer == peer; });
  if (found != guests_.end()) return **found;
  return *guests_.emplace_back(std::make_unique<Guest>(peer));
}

DiskShare& WorkerCore::share_of(const Queue& queue) {
  const auto found = std::ranges::find_if(shares_, [&](const auto& share) {
    return share->peer == queue.peer() && share->device == queue.device();
  });
  if (found != shares_.end()) return **found;
  return *shares_.emplace_back(std::make_unique<DiskShare>(queue.peer(), queue.device()));
}

void WorkerCore::make_ready(Queue& queue) noexcept {
  if (!queue.serving() || queue.ready()) return;
  if (queue.watched()) watched_.erase(watched_.iterator_to(queue));
  ready_.push_back(queue);
}

void WorkerCore::remove_drained() {
  std::vector<std::unique_ptr<Queue>> drained;
  for (auto& queue : queues_) {
    if (queue->drained()) drained.push_back(std::move(queue));
  }
  std::erase(queues_, nullptr);
  for (auto& queue : drained) remove(std::move(queue));
}

void WorkerCore::remove(std::unique_ptr<Queue> queue) {
  assert(closing_ != 0);
  --closing_;
  if (queue->recovery().troubled()) --troubled_;
  by_port_.erase(queue->port().n);
  Guest& guest = *queue->guest;
  if (--guest.queues == 0) {
    assert(guest.tables.empty() && guest.incoming.empty() && guest.outgoing.empty());
    std::erase_if(guests_, [&](const auto& g) { return g.get() == &guest; });
  }
  DiskShare& share = *queue->share;
  if (--share.queues == 0) {
    assert(share.slots == 0 && share.bytes == 0);
    std::erase_if(shares_, [&](const auto& s) { return s.get() == &share; });
  }
  const auto closed = queue->take_closed();
  queue.reset();
  counters_.queues.set(queues_.size());
  for (const auto& done : closed) done();
}

}  // namespace xenblk::ringio
