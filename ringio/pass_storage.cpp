// What happens to requests that the image has failed, where the disk's policy is not to report
// that: they are put off and taken again, or all of the disk's requests are refused. Nothing here
// runs while the storage is good.
#include <algorithm>
#include <cassert>

#include "ringio/plan.h"
#include "ringio/worker_core.h"

namespace xenblk::ringio {

// In the engine's turn: the image may still look at the request.
void WorkerCore::image_failed(RequestSlot& slot) noexcept {
  Queue& queue = *slot.queue;
  const StorageFailure failure{slot.status, slot.op, queue.image().info().cached};
  if (queue.react_to(failure, slot.first) == OnFailure::pause) {
    failed_.push_back(slot);
    return;
  }
  slot.answer = answer_for(slot.status);
  queue.report(Trouble::image_failed, slot.first.n);
  finished_.push_back(slot);
}

// A kept request costs no slot and no buffer, however long it waits: its guest still has the data,
// and the journal the rest.
void WorkerCore::put_off_failed() noexcept {
  now_ = clock_.now();
  while (!failed_.empty()) {
    RequestSlot& slot = failed_.front();
    failed_.pop_front();
    Queue& queue = *slot.queue;
    const StorageFailure failure{slot.status, slot.op, queue.image().info().cached};
    const StorageNotice notice{StorageNotice::Change::waits, failure, slot.first};
    put_off(slot);
    // It must not overtake what it was to wait for.
    if (RequestSlot* barrier = queue.waiting_barrier()) put_off(*barrier);
    if (queue.hold(notice, now_)) ++troubled_;
    stop_serving(queue);
  }
  counters_.slots_in_use.set(slots_.in_use());
}

void WorkerCore::put_off(RequestSlot& slot) noexcept {
  Queue& queue = *slot.queue;
  slot.go(Step::put_off);
  queue.ring().put_off(slot.journal_entry);
  queue.count_kept();
  queue.leave(slot);
  give_back(slot);
}

void WorkerCore::look_at_troubled() noexcept {
  now_ = clock_.now();
  for (const auto& queue : queues_) {
    StorageRecovery& recovery = queue->recovery();
    if (queue->may_retry() && recovery.retry_at() <= now_) {
      recovery.retry();
      make_ready(*queue);
    } else if (queue->has_recovered()) {
      end_trouble(*queue);
      make_ready(*queue);
    }
  }
}

void WorkerCore::end_trouble(Queue& queue) noexcept {
  queue.recover();
  assert(troubled_ != 0);
  --troubled_;
}

// After the engine's turn, in which a queue may close before or after a request of its fails, and
// before it is removed.
void WorkerCore::refuse_abandoned() noexcept {
  for (const auto& queue : queues_) {
    if (!queue->abandons_kept()) continue;
    while (queue->ring().open_left() != 0) refuse_next(*queue);
    if (queue->recovery().troubled()) end_trouble(*queue);
  }
}

std::chrono::nanoseconds WorkerCore::until_retry(std::chrono::nanoseconds patience) const noexcept {
  for (const auto& queue : queues_) {
    if (!queue->may_retry()) continue;
    const auto at = queue->recovery().retry_at();
    const std::chrono::nanoseconds left(at.ns - std::min(at.ns, now_.ns));
    patience = std::min(patience, std::max(left, std::chrono::nanoseconds(1)));
  }
  return patience;
}

WorkerCore::Taken WorkerCore::take_in_trouble(Queue& queue, std::uint32_t& taken) noexcept {
  return queue.refuses() ? refuse_from(queue, taken) : retake_from(queue, taken);
}

// Only what was put off. What is new waits until the storage is seen to be good again: each try
// would add to what is kept.
WorkerCore::Taken WorkerCore::retake_from(Queue& queue, std::uint32_t& taken) noexcept {
  while (queue.ring().open_left() != 0) {
    if (taken == kShare) return Taken::share;
    if (has_its_share(queue)) return Taken::held_back;
    if (!take_one(queue)) return Taken::starved;
    ++taken;
    ++activity_;
    queue.counters().retries.add(1);
    queue.count_kept();
    if (!queue.serving()) break;
  }
  return Taken::until_answered;
}

WorkerCore::Taken WorkerCore::refuse_from(Queue& queue, std::uint32_t& taken) noexcept {
  JournaledRing& ring = queue.ring();
  if (ring.look() == RingState::overrun) return Taken::stopped;
  if (ring.available() == 0 && queue.masked) queue.refusals().spend(now_);
  if (queue.refusals().exhausted(now_)) return Taken::throttled;
  while (ring.available() != 0) {
    if (taken == kShare || !ring.can_take()) return Taken::share;
    if (queue.next_take(now_) > now_) return Taken::throttled;
    refuse_next(queue);
    ++taken;
    ++activity_;
  }
  return Taken::all;
}

// What is wrong anyway gets the answer that it deserves.
void WorkerCore::refuse_next(Queue& queue) noexcept {
  const RawSlot raw = queue.ring().copy_next();
  const auto request = decode(raw, queue.layout(), queue.limits());
  const auto asked = name_of(raw, queue.layout());
  const Refusal refusal{.id = asked.id,
                        .operation = asked.operation,
                        .status = blkif::Status::error,
                        .trouble = queue.refuses() ? Trouble::disk_stopped : Trouble::image_failed,
                        .detail = 0};
  refuse(queue, queue.ring().consume(raw), request ? refusal : request.error());
}

}  // namespace xenblk::ringio
