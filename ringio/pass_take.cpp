// The first half of a pass: requests leave the rings and go to the image.
#include <array>
#include <cassert>

#include "ringio/plan.h"
#include "ringio/probes.h"
#include "ringio/worker_core.h"

namespace xenblk::ringio {
namespace {

constexpr std::size_t kEventsAtOnce = 64;

}  // namespace

void WorkerCore::take_events() noexcept {
  events_signalled_ = false;
  std::array<EventPort, kEventsAtOnce> ports;
  // Until none is left: the descriptor is reported again only after it was empty. Bounded, because
  // every port that we get stays masked.
  while (const std::size_t count = channels_.take_pending(ports)) {
    for (const EventPort port : std::span(ports).first(count)) {
      const auto found = by_port_.find(port.n);
      if (found == by_port_.end()) continue;  // of a queue that is gone
      found->second->counters().events.add(1);
      found->second->masked = true;
      make_ready(*found->second);
    }
  }
}

// Serves every queue that was ready when it began, once, and ends early when requests have to stay
// in their rings.
void WorkerCore::take_requests() noexcept {
  waits_for_quiet_ = false;
  ReadyList let_pass;
  for (std::size_t left = ready_.size(); left != 0 && !waits_for_quiet_; --left) {
    waits_for_quiet_ = serve_front(let_pass) == Taken::starved;
  }
  starved_ = waits_for_quiet_ || (ready_.empty() && !let_pass.empty());
  if (starved_) counters_.starved.add(1);
  ready_.splice(ready_.begin(), let_pass);
  counters_.slots_in_use.set(slots_.in_use());
}

WorkerCore::Taken WorkerCore::serve_front(ReadyList& let_pass) noexcept {
  Queue& queue = ready_.front();
  std::uint32_t taken = 0;
  Taken result = queue.storage_is_good() ? take_from(queue, taken) : take_in_trouble(queue, taken);
  if (result == Taken::starved && lets_pass(queue)) result = Taken::held_back;
  // Keeps its place as long as it got nothing.
  if (result == Taken::starved && taken == 0) return result;
  ready_.pop_front();
  if (result == Taken::held_back && taken == 0) {
    let_pass.push_back(queue);
    return result;
  }
  switch (result) {
    case Taken::share:
    case Taken::starved:
    case Taken::held_back:
      ready_.push_back(queue);
      break;
    case Taken::all:
      watch(queue);
      break;
    case Taken::throttled:
      queue.reason_to_wait(now_).add(1);
      queue.throttled = true;
      queue.throttled_at = now_;
      queue.last_turn = taken > 0 ? LastTurn::something : LastTurn::nothing;
      throttled_.push_back(queue);
      break;
    // Becomes ready again when the barrier, or what was put off, has been answered; its port stays
    // masked until it is idle.
    case Taken::until_answered:
      break;
    // Its port stays masked for ever, so it costs nothing any more.
    case Taken::stopped:
      queue.stop();
      break;
  }
  return result;
}

// What is in flight when a queue begins to let others pass hangs, or is slow. What it lacks can
// only come from there: what was taken later took it from what was not enough.
bool WorkerCore::lets_pass(Queue& queue) noexcept {
  if (queue.lets_pass_since > old_freed_at_) return true;
  if (activity_ != activity_starved_) {
    activity_starved_ = activity_;
    quiet_since_ = now_;
  }
  if (now_.ns - quiet_since_.ns < kQuietNs) return false;
  queue.lets_pass_since = now_;
  let_pass_at_ = now_;
  return true;
}

WorkerCore::Taken WorkerCore::take_from(Queue& queue, std::uint32_t& taken) noexcept {
  JournaledRing& ring = queue.ring();
  if (ring.look() == RingState::overrun) return Taken::stopped;
  if (ring.available() == 0 && queue.masked) {
    queue.refusals().spend(now_);
    if (queue.refusals().exhausted(now_)) return Taken::throttled;
  }
  while (ring.available() != 0) {
    if (taken == kShare || !ring.can_take()) return Taken::share;
    if (queue.next_take(now_) > now_) return Taken::throttled;
    if (has_its_share(queue)) return Taken::held_back;
    if (!take_one(queue)) return Taken::starved;
    ++taken;
    ++activity_;
    if (!queue.serving()) return Taken::until_answered;
  }
  return Taken::all;
}

bool WorkerCore::has_its_share(const Queue& queue) const noexcept {
  return !queue.share->may_take_more(slots_.size() - slots_.in_use(),
                                     buffers_.size_bytes() - buffers_.bytes_in_use());
}

// False when there is no slot or buffer: the request stays in the ring as if we had not looked.
bool WorkerCore::take_one(Queue& queue) noexcept {
  if (slots_.in_use() == slots_.size()) return false;
  const RawSlot raw = queue.ring().copy_next();
  const auto request = decode(raw, queue.layout(), queue.limits());
  if (!request) {
    refuse(queue, queue.ring().consume(raw), request.error());
    return true;
  }
  RequestSlot* slot = admit(*request);
  if (slot == nullptr) return false;
  slot->journal_entry = queue.ring().consume(raw);
  queue.enter(*slot);
  charge(*slot);
  begin(*slot);
  return true;
}

RequestSlot* WorkerCore::admit(const Request& request) noexcept {
  // All that the request will ever need, or nothing: one that is under way never waits for memory.
  std::byte* table = nullptr;
  std::byte* data = nullptr;
  if (request.carries_data()) {
    if (request.indirect) {
      table = buffers_.take(request.table_bytes());
      if (table == nullptr) return nullptr;
    }
    data = buffers_.take(buffer_bytes(request));
    if (data == nullptr) {
      if (table != nullptr) buffers_.give_back(table);
      return nullptr;
    }
  }
  RequestSlot* slot = slots_.take();
  assert(slot != nullptr);
  slot->request = request;
  slot->table = table;
  slot->data = data;
  slot->phases = plan(request);
  slot->taken_at = now_;
  slot->submitted_at = now_;
  slot->engine = &engine_;
  slot->status = IoStatus::okay;
  slot->done = on_image_done;
  return slot;
}

void WorkerCore::charge(const RequestSlot& slot) noexcept {
  if (!slot.request.carries_data()) return slot.queue->charge(now_, 0);
  // An indirect request's segments are not known yet, and it must not be taken before it is paid
  // for: its pages count as whole ones.
  slot.queue->charge(now_, slot.request.indirect
                               ? std::uint64_t{slot.request.segment_count} * kPageBytes
                               : slot.request.count.n * kSectorBytes);
}

void WorkerCore::refuse(Queue& queue, InFlightJournal::Index entry,
                        const Refusal& refusal) noexcept {
  queue.report(refusal.trouble, refusal.detail);
  queue.refusals().spend(now_);
  queue.ring().put(entry, {refusal.id, refusal.operation, refusal.status});
  mark_unpublished(queue);
}

void WorkerCore::begin(RequestSlot& slot) noexcept {
  probe_taken(slot);
  if (slot.request.indirect) {
    slot.go(Step::table_in);
    slot.queue->guest->tables.push_back(slot);
  } else {
    slot.begin_first_piece();
    go_on(slot);
  }
}

void WorkerCore::move_tables_in() noexcept {
  for (const auto& guest : guests_) {
    if (guest->tables.empty()) continue;
    mover_.move(guest->peer, guest->tables, Movement::table_in);
    while (!guest->tables.empty()) {
      RequestSlot& slot = guest->tables.front();
      guest->tables.pop_front();
      check_table(slot);
    }
  }
}

void WorkerCore::check_table(RequestSlot& slot) noexcept {
  if (slot.answer == blkif::Status::okay) {
    const auto* table = reinterpret_cast<const Segment*>(slot.table);
    const auto checked = decode_table(slot.request, table, slot.queue->limits());
    if (checked) {
      slot.begin_first_piece();
      return go_on(slot);
    }
    slot.answer = checked.error().status;
    slot.queue->report(checked.error().trouble, checked.error().detail);
  }
  finished_.push_back(slot);
}

// The piece that was begun: to its data first, if it has any for the disk.
void WorkerCore::go_on(RequestSlot& slot) noexcept {
  if (slot.request.carries_data() && slot.request.op != blkif::Op::read) {
    slot.go(Step::data_in);
    slot.queue->guest->incoming.push_back(slot);
  } else {
    start(slot);
  }
}

void WorkerCore::move_data_in() noexcept {
  for (const auto& guest : guests_) {
    if (guest->incoming.empty()) continue;
    mover_.move(guest->peer, guest->incoming, Movement::data_in);
    const Instant moved_at = clock_.now();
    while (!guest->incoming.empty()) {
      RequestSlot& slot = guest->incoming.front();
      guest->incoming.pop_front();
      if (slot.piece_begin == 0) slot.submitted_at = moved_at;
      if (slot.answer == blkif::Status::okay) {
        start(slot);
      } else {
        finished_.push_back(slot);
      }
    }
  }
}

void WorkerCore::start(RequestSlot& slot) noexcept {
  if (!slot.queue->must_wait(slot)) submit_phase(slot);
}

void WorkerCore::submit_phase(RequestSlot& slot) noexcept {
  assert(slot.phases.next < slot.phases.count);
  slot.go(Step::at_image);
  slot.op = slot.phases.ops[slot.phases.next];
  ++slot.phases.next;
  slot.status = IoStatus::okay;
  slot.queue->image().submit(slot);
}

}  // namespace xenblk::ringio
