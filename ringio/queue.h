// One connected queue: its ring, its port and what is in flight on it. Pinned; owned and used by
// one worker. The worker's core decides when; the queue only knows its own ring.
#pragma once

#include <algorithm>
#include <array>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ringio/decode.h"
#include "ringio/disk_share.h"
#include "ringio/grant_cache.h"
#include "ringio/journaled_ring.h"
#include "ringio/queue_setup.h"
#include "ringio/refusal_budget.h"
#include "ringio/request_slot.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

struct Guest;
class WorkerCore;

struct ReadyTag;
struct UnpublishedTag;
struct WatchedTag;
using ReadyHook = boost::intrusive::list_base_hook<boost::intrusive::tag<ReadyTag>>;
using UnpublishedHook = boost::intrusive::list_base_hook<boost::intrusive::tag<UnpublishedTag>>;
using WatchedHook = boost::intrusive::list_base_hook<boost::intrusive::tag<WatchedTag>>;

// What a queue got when it asked last.
enum class LastTurn : std::uint8_t { nothing, something };

class Queue : public ReadyHook, public UnpublishedHook, public WatchedHook {
 public:
  // Maps the ring and binds the port; undoes both when it fails. Errors: see Worker::connect.
  static Expected<std::unique_ptr<Queue>> make(QueueId id, QueueSetup setup, GrantTable& grants,
                                               EventChannels& channels);
  // Frees the port, then the mapping. Nothing may be in flight.
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  QueueId id() const { return id_; }
  EventPort port() const { return port_; }
  DomainId peer() const { return setup_.peer; }
  DeviceId device() const { return setup_.device; }
  blkif::Layout layout() const { return setup_.layout; }
  const Limits& limits() const { return limits_; }
  Image& image() const { return *setup_.image; }
  JournaledRing& ring() { return ring_; }
  GrantCache* grant_cache() { return grant_cache_ ? &*grant_cache_ : nullptr; }
  // The disk has grown.
  void set_capacity(SectorCount capacity) { limits_.capacity = capacity; }
  // Only while it is paused and nothing is in flight.
  void set_image(std::shared_ptr<Image> image) {
    assert(paused_ && in_flight_ == 0);
    setup_.image = std::move(image);
    limits_.capacity = setup_.image->capacity();
  }
  QueueCounters& counters() { return *setup_.counters; }

  // Counts the trouble, and tells the control plane of the first of its kind.
  void report(Trouble trouble, std::uint64_t detail);
  // How many of the guest's mistakes are answered before its ring has to wait.
  RefusalBudget& refusals() { return refusals_; }
  const RefusalBudget& refusals() const { return refusals_; }

  // Takes requests as long as this is true.
  bool serving() const {
    return !stopped_ && !closing_ && !paused_ && barrier_ == nullptr && !recovery_.waiting();
  }
  // When the next request may be taken; a moment not after `now` where one may be at once.
  Instant next_take(Instant now) {
    const Instant limit = std::max(next_within(setup_.limiter.get(), now),
                                   next_within(setup_.guest_limiter.get(), now));
    return refusals_.exhausted(now) ? std::max(refusals_.next(), limit) : limit;
  }
  // What counts the waiting for next_take().
  Counter& reason_to_wait(Instant now) {
    if (refusals_.exhausted(now)) return counters().throttled;
    const bool of_guest =
        next_within(setup_.guest_limiter.get(), now) > next_within(setup_.limiter.get(), now);
    return of_guest ? counters().guest_limited : counters().limited;
  }
  // To the limits of the disk and of its guest.
  void charge(Instant now, std::uint64_t bytes) {
    for (auto* limiter : {setup_.limiter.get(), setup_.guest_limiter.get()}) {
      if (limiter == nullptr || !limiter->limited()) continue;
      limiter->charge_operation(now);
      limiter->charge_bytes(now, bytes);
    }
  }
  bool is_slow(std::uint64_t ns) const {
    const auto* threshold = setup_.slow.threshold_ns.get();
    if (threshold == nullptr) return false;
    const auto threshold_ns = threshold->load(std::memory_order_relaxed);
    return threshold_ns != 0 && ns >= threshold_ns;
  }
  // Tells the control plane, or only counts it when it was told of another one just before.
  void report_slow(SlowRequest request, Instant now);
  bool ready() const { return static_cast<const ReadyHook&>(*this).is_linked(); }
  bool watched() const { return static_cast<const WatchedHook&>(*this).is_linked(); }
  bool unpublished() const { return static_cast<const UnpublishedHook&>(*this).is_linked(); }

  void stop();  // for ever, because the ring is overrun
  void close(std::function<void()> done);
  // As close(), but what is put off stays open in the journal, for the daemon after us.
  void leave_to_next(std::function<void()> done);
  bool closing() const { return closing_; }
  // There is a journal that outlives us.
  bool can_be_left() const { return setup_.journal.has_value(); }
  bool drained() const { return closing_ && idle(); }
  // It closes, and what is put off or not yet taken over is left to nobody.
  bool abandons_kept() const {
    return closing_ && !leaves_open_ && (recovery_.troubled() || ring_.open_left() != 0);
  }
  // Takes nothing until resume(); `done` is kept until take_paused().
  void pause(std::function<void()> done);
  void resume() { paused_ = false; }
  // Somebody waits for a pause to be complete, and it is.
  bool has_come_to_rest() const { return !pausing_.empty() && idle(); }
  bool pausing() const { return !pausing_.empty(); }
  std::vector<std::function<void()>> take_paused() { return std::exchange(pausing_, {}); }
  // To be called after the queue is gone.
  std::vector<std::function<void()>> take_closed() { return std::move(closed_); }

  // --- a storage that fails ---
  // What is to be done about it; `pause` only where the request can be put off. Tells the control
  // plane when the disk is stopped.
  OnFailure react_to(const StorageFailure& failure, SectorIndex first);
  // A request that its storage has failed was put off. True: the queue was not troubled before.
  bool hold(const StorageNotice& notice, Instant now);
  // All requests are refused, by a queue of this disk that has met a failure.
  bool refuses() const { return setup_.storage.refuses->load(std::memory_order_relaxed); }
  bool storage_is_good() const { return !recovery_.troubled() && !refuses(); }
  StorageRecovery& recovery() { return recovery_; }
  // Waits for its storage and may go on when that has recovered.
  bool may_retry() const { return recovery_.waiting() && !stopped_ && !closing_ && !paused_; }
  // All that was put off is done, or refused.
  bool has_recovered() const {
    return recovery_.retrying() && ring_.open_left() == 0 && in_flight_ == 0;
  }
  void recover();
  // The count of what is put off has changed.
  void count_kept() { counters().kept.set(ring_.open_left()); }

  void enter(RequestSlot& slot);  // a request was taken
  void leave(RequestSlot& slot);  // it has been answered, or put off
  // A barrier waits until nothing else is in flight on its ring, and nothing is taken until it has
  // been answered.
  bool must_wait(const RequestSlot& slot) const { return &slot == barrier_ && in_flight_ > 1; }
  // The barrier that can start now that another request has left, or null.
  RequestSlot* barrier_to_start();
  // The barrier that waits for others, or null.
  RequestSlot* waiting_barrier();

  Guest* guest = nullptr;      // the worker's
  DiskShare* share = nullptr;  // the worker's
  WorkerCore* core = nullptr;  // the worker's
  bool masked = false;         // an event came, and no other will before the port is unmasked
  bool throttled = false;      // waits for its next_take()
  LastTurn last_turn = LastTurn::nothing;  // before it was throttled
  Instant throttled_at;
  Instant looked_up_at;     // when it last had something to do
  Instant lets_pass_since;  // it found no slot or buffer, and nothing came back to the worker

 private:
  Queue(QueueId id, QueueSetup setup, EventChannels& channels, GrantMapping mapping,
        JournaledRing ring);
  std::size_t persistent_pages_max() const;
  // While it is throttled, what is due is shared out in turns: by whoever got nothing a turn ago,
  // and a turn later by those who have just had something.
  Instant next_within(const RateLimiter* limiter, Instant now) const {
    if (limiter == nullptr || !limiter->limited()) return {};
    if (!throttled) return limiter->next(now);
    const auto after_ns = last_turn == LastTurn::something ? RateLimiter::kTurnNs : 0;
    return std::max(limiter->next(now, after_ns), Instant{throttled_at.ns + RateLimiter::kTurnNs});
  }
  bool idle() const { return in_flight_ == 0 && !ring_.has_unpublished(); }

  QueueId id_;
  QueueSetup setup_;
  Limits limits_;
  EventChannels& channels_;
  GrantMapping mapping_;
  std::optional<GrantCache> grant_cache_;  // only where pages stay mapped
  JournaledRing ring_;                     // above: its memory
  EventPort port_;
  bool bound_ = false;

  std::uint32_t in_flight_ = 0;
  RequestSlot* barrier_ = nullptr;
  bool stopped_ = false;
  bool closing_ = false;
  bool paused_ = false;
  bool leaves_open_ = false;  // what is kept, to the daemon after us
  StorageRecovery recovery_;
  Instant slow_told_at_;
  std::uint64_t slow_untold_ = 0;
  RefusalBudget refusals_;
  std::array<bool, kTroubleKinds> reported_ = {};
  std::vector<std::function<void()>> closed_;
  std::vector<std::function<void()>> pausing_;
};

using ReadyList = boost::intrusive::list<Queue, boost::intrusive::base_hook<ReadyHook>>;
using WatchedList = boost::intrusive::list<Queue, boost::intrusive::base_hook<WatchedHook>,
                                           boost::intrusive::constant_time_size<false>>;
using UnpublishedList = boost::intrusive::list<Queue, boost::intrusive::base_hook<UnpublishedHook>,
                                               boost::intrusive::constant_time_size<false>>;

}  // namespace xenblk::ringio
