// The second half of a pass: what the image has done goes back to the guests.
#include <cassert>

#include "ringio/plan.h"
#include "ringio/probes.h"
#include "ringio/worker_core.h"

namespace xenblk::ringio {

void WorkerCore::on_image_done(ImageRequest& request) noexcept {
  auto& slot = static_cast<RequestSlot&>(request);
  slot.queue->core->image_done(slot);
}

void WorkerCore::image_done(RequestSlot& slot) noexcept {
  assert(slot.step() == Step::at_image);
  if (slot.status != IoStatus::okay) {
    image_failed(slot);
  } else if (slot.phases.next < slot.phases.count) {
    submit_phase(slot);
  } else if (slot.request.op == blkif::Op::read) {
    // Only here is data given to a guest: a read that failed leaves the buffer with what another
    // guest had in it.
    slot.go(Step::data_out);
    slot.queue->guest->outgoing.push_back(slot);
  } else {
    piece_done(slot);
  }
}

void WorkerCore::move_data_out() noexcept {
  for (const auto& guest : guests_) {
    if (guest->outgoing.empty()) continue;
    mover_.move(guest->peer, guest->outgoing, Movement::data_out);
    while (!guest->outgoing.empty()) {
      RequestSlot& slot = guest->outgoing.front();
      guest->outgoing.pop_front();
      slot.imaged_at = turned_at_;
      piece_done(slot);
    }
  }
}

void WorkerCore::piece_done(RequestSlot& slot) noexcept {
  if (slot.answer != blkif::Status::okay || !slot.has_more_pieces()) {
    finished_.push_back(slot);
    return;
  }
  assert(slot.request.indirect || slot.request.op == blkif::Op::discard);
  assert(slot.phases.count == 1);
  slot.phases.next = 0;
  slot.begin_next_piece();
  go_on(slot);
}

void WorkerCore::answer_finished() noexcept {
  if (finished_.empty()) return;
  ++activity_;
  now_ = clock_.now();
  while (!finished_.empty()) {
    RequestSlot& slot = finished_.front();
    finished_.pop_front();
    answer(slot);
  }
  counters_.slots_in_use.set(slots_.in_use());
}

// The one exit: everything that entered a slot leaves it here.
void WorkerCore::answer(RequestSlot& slot) noexcept {
  Queue& queue = *slot.queue;
  slot.go(Step::answered);
  const auto operation = static_cast<std::uint8_t>(slot.request.op);
  queue.ring().put(slot.journal_entry, {slot.request.id, operation, slot.answer});
  mark_unpublished(queue);
  if (slot.answer == blkif::Status::okay) {
    count(slot);
    measure(slot);
    queue.refusals().earn();
  } else if (slot.status == IoStatus::okay) {
    queue.refusals().spend(now_);  // not the image's failure but the guest's
  }
  probe_answered(slot, now_);
  const bool was_barrier = slot.request.op == blkif::Op::write_barrier;
  queue.leave(slot);
  give_back(slot);
  if (was_barrier) make_ready(queue);
  if (RequestSlot* barrier = queue.barrier_to_start()) submit_phase(*barrier);
}

void WorkerCore::give_back(RequestSlot& slot) noexcept {
  if (slot.taken_at < let_pass_at_) old_freed_at_ = now_;
  for (std::byte** buffer : {&slot.data, &slot.table}) {
    if (*buffer != nullptr) buffers_.give_back(*buffer);
    *buffer = nullptr;
  }
  slots_.give_back(slot);
}

// All that were answered in one pass came back from the image in its turn: a clock read for each of
// the pass's steps is enough, and none is needed for each request.
void WorkerCore::measure(const RequestSlot& slot) noexcept {
  Latencies& latencies = slot.queue->counters().latencies;
  const auto add = [](LatencyHistogram& histogram, Instant from, Instant to) {
    histogram.add(to.ns - from.ns);
  };
  const auto at = [](auto& histograms, Phase phase) -> LatencyHistogram& {
    return histograms[static_cast<std::size_t>(phase)];
  };
  if (slot.request.op == blkif::Op::read) {
    add(at(latencies.read, Phase::image), slot.submitted_at, slot.imaged_at);
    add(at(latencies.read, Phase::data_out), slot.imaged_at, now_);
    add(at(latencies.read, Phase::total), slot.taken_at, now_);
  } else if (slot.request.carries_data()) {
    add(at(latencies.write, Phase::data_in), slot.taken_at, slot.submitted_at);
    add(at(latencies.write, Phase::image), slot.submitted_at, turned_at_);
    add(at(latencies.write, Phase::total), slot.taken_at, now_);
  } else if (slot.request.op == blkif::Op::discard) {
    add(latencies.discard, slot.taken_at, now_);
  } else {
    add(latencies.flush, slot.taken_at, now_);
  }
  if (slot.queue->is_slow(now_.ns - slot.taken_at.ns)) tell_slow(slot);
}

void WorkerCore::tell_slow(const RequestSlot& slot) noexcept {
  const bool read = slot.request.op == blkif::Op::read;
  const Instant imaged_at = read ? slot.imaged_at : turned_at_;
  slot.queue->report_slow({.op = slot.request.op,
                           .first = slot.request.first,
                           .count = slot.request.count,
                           .total_ns = now_.ns - slot.taken_at.ns,
                           .data_in_ns = slot.submitted_at.ns - slot.taken_at.ns,
                           .image_ns = imaged_at.ns - slot.submitted_at.ns,
                           .data_out_ns = read ? now_.ns - imaged_at.ns : 0},
                          now_);
}

void WorkerCore::count(const RequestSlot& slot) noexcept {
  QueueCounters& counters = slot.queue->counters();
  const std::uint64_t sectors = slot.request.count.n;
  const std::uint64_t ns = now_.ns - slot.taken_at.ns;
  switch (slot.request.op) {
    case blkif::Op::read:
      counters.reads.add(1);
      counters.sectors_read.add(sectors);
      counters.read_ns.add(ns);
      return;
    case blkif::Op::discard:
      counters.discards.add(1);
      counters.sectors_discarded.add(sectors);
      return;
    case blkif::Op::flush_diskcache:
      counters.flushes.add(1);
      break;
    case blkif::Op::write_barrier:
      counters.barriers.add(1);
      break;
    case blkif::Op::write:
    case blkif::Op::reserved_1:
    case blkif::Op::indirect:
      break;
  }
  if (!slot.request.carries_data()) return;
  counters.writes.add(1);
  counters.sectors_written.add(sectors);
  counters.write_ns.add(ns);
}

void WorkerCore::mark_unpublished(Queue& queue) noexcept {
  if (!queue.unpublished()) unpublished_.push_back(queue);
}

// One index and at most one event for all that a queue has to say in this pass. An event without a
// response would count against us with the guest (blkfront delays the next ones).
void WorkerCore::publish() noexcept {
  while (!unpublished_.empty()) {
    Queue& queue = unpublished_.front();
    unpublished_.pop_front();
    // What the guest asks for next it asks for now, and we are awake.
    if (poller_.enabled() && queue.serving() && !queue.ready() && !queue.watched()) {
      queue.ring().disarm();
      watch(queue);
    }
    if (!queue.ring().publish()) continue;
    channels_.notify(queue.port());
    queue.counters().notifications.add(1);
  }
}

}  // namespace xenblk::ringio
