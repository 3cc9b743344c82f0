// Between the halves of a pass: may the thread sleep, and who has to be armed before it does.
#include <algorithm>
#include <cassert>

#include "ringio/worker_core.h"

namespace xenblk::ringio {
namespace {

// A queue that had nothing to do for so long is left to its events even while the worker is busy
// with others: looking at a thousand idle rings in every pass would cost more than their events.
constexpr std::uint64_t kWatchNs = 100'000;

}  // namespace

void WorkerCore::look_at_watched() noexcept {
  const auto watch_ns = std::max(kWatchNs, poller_.window_ns());
  for (auto at = watched_.begin(); at != watched_.end();) {
    Queue& queue = *at;
    ++at;
    if (queue.ring().look() != RingState::empty) {
      make_ready(queue);
    } else if (now_.ns - queue.looked_up_at.ns > watch_ns) {
      arm(queue);
    }
  }
}

// First those that got nothing when they asked last: what is due may be enough for one of many that
// share a limit, and that must not be the same one each time.
void WorkerCore::wake_throttled() noexcept {
  wake_throttled(LastTurn::nothing);
  wake_throttled(LastTurn::something);
}

void WorkerCore::wake_throttled(LastTurn got) noexcept {
  for (auto at = throttled_.begin(); at != throttled_.end();) {
    Queue& queue = *at;
    if (queue.last_turn != got || queue.next_take(now_) > now_) {
      ++at;
      continue;
    }
    at = throttled_.erase(at);
    queue.throttled = false;
    // One that waited for its events alone has nothing to be served, and is not charged again.
    queue.ring().look() == RingState::empty ? watch(queue) : make_ready(queue);
  }
}

std::chrono::nanoseconds WorkerCore::patience_of_pass(std::chrono::nanoseconds patience) noexcept {
  if (has_work()) return LoopEngine::kNoWait;
  const bool active = activity_ != activity_seen_;
  activity_seen_ = activity_;
  const auto awaited = slots_.in_use() != 0 ? Awaited::image : Awaited::guest;
  if (poller_.stay_awake(now_, active, awaited)) return LoopEngine::kNoWait;
  if (!arm_watched()) return LoopEngine::kNoWait;
  for (Queue& queue : throttled_) {
    const Instant next = queue.next_take(now_);
    const std::chrono::nanoseconds left(next.ns - std::min(next.ns, now_.ns));
    patience = std::clamp(left, std::chrono::nanoseconds(1), patience);
  }
  if (waits_for_quiet_) {
    const std::chrono::nanoseconds left(quiet_since_.ns + kQuietNs - now_.ns);
    patience = std::min(patience, left);
  }
  if (troubled_ != 0) patience = until_retry(patience);
  counters_.sleeps.add(1);
  return patience;
}

// True when nothing came before the last of them was armed.
bool WorkerCore::arm_watched() noexcept {
  bool all_empty = true;
  while (!watched_.empty()) all_empty = arm(watched_.front()) && all_empty;
  return all_empty;
}

// From here on the queue is found by its event, unless something is there already.
bool WorkerCore::arm(Queue& queue) noexcept {
  watched_.erase(watched_.iterator_to(queue));
  if (queue.ring().arm() != RingState::empty) {
    make_ready(queue);
    return false;
  }
  if (queue.masked) unmask_.push_back(queue.port());
  queue.masked = false;
  return true;
}

void WorkerCore::watch(Queue& queue) noexcept {
  assert(!queue.ready() && !queue.watched());
  queue.looked_up_at = now_;
  watched_.push_back(queue);
}

void WorkerCore::unmask_idle() noexcept {
  if (unmask_.empty()) return;
  channels_.unmask(unmask_);
  unmask_.clear();
}

}  // namespace xenblk::ringio
