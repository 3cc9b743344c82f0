// The loop of a worker without its thread: a simulator drives pass() itself, with its own engine,
// channels, grants and clock. Pinned; one thread, except where noted.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "ringio/buffer_pool.h"
#include "ringio/counters.h"
#include "ringio/data_mover.h"
#include "ringio/guest.h"
#include "ringio/loop_engine.h"
#include "ringio/poller.h"
#include "ringio/queue.h"
#include "ringio/queue_setup.h"
#include "ringio/slot_pool.h"
#include "xenblk/clock.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

// What a core works with. All borrowed; must outlive it.
struct WorkerParts {
  LoopEngine& engine;
  EventChannels& channels;
  GrantTable& grants;
  const Clock& clock;
  std::span<std::byte> arena;  // a multiple of BufferPool::kMaxBytes
  std::uint32_t request_slots = 512;
  PollingOptions polling = {};
};

static_assert(kIndirectArenaBytes == 2 * BufferPool::kMaxBytes);
static_assert(kPieceSegments * kPageBytes <= BufferPool::kMaxBytes);
static_assert(blkif::kMaxIndirectPages * kPageBytes <= BufferPool::kMaxBytes);

class WorkerCore {
 public:
  explicit WorkerCore(const WorkerParts& parts);
  // No queue may be connected.
  ~WorkerCore();
  WorkerCore(const WorkerCore&) = delete;
  WorkerCore& operator=(const WorkerCore&) = delete;

  // As Worker::connect, Worker::disconnect and Worker::detach. Between passes or from a task of the
  // engine; not from a notice.
  Expected<QueueId> connect(QueueSetup setup);
  void disconnect(QueueId id, std::function<void()> done);
  void detach(QueueId id, std::function<void()> done);
  void set_capacity(QueueId id, SectorCount capacity);
  void set_image(QueueId id, std::shared_ptr<Image> image);
  void age_grants(QueueId id);
  // As Worker::pause and Worker::resume.
  void pause(QueueId id, std::function<void()> done);
  void resume(QueueId id);
  void set_polling(const PollingOptions& polling) { poller_ = Poller(polling); }

  // The event channels' descriptor became readable.
  void events_signalled() noexcept { events_signalled_ = true; }

  // One turn of the loop; each step is bounded. Waits up to `patience` in the engine when no queue
  // has anything to do.
  void pass(std::chrono::nanoseconds patience) noexcept;

  // Any thread.
  const WorkerCounters& counters() const { return counters_; }

 private:
  // Why taking from a queue ended.
  enum class Taken : std::uint8_t {
    all,
    share,
    starved,
    held_back,
    throttled,
    until_answered,
    stopped
  };

  // Requests one queue may give to a pass before the others have their turn: a ring of one page.
  static constexpr std::uint32_t kShare = 32;
  // When nothing has come back from any image for so long, and nothing was taken, whoever finds no
  // slot or buffer lets others pass. Longer than a good storage takes, and a wait that guests bear.
  static constexpr std::uint64_t kQuietNs = 20'000'000;

  // pass_take.cpp: from the rings to the image.
  void take_events() noexcept;
  void take_requests() noexcept;
  Taken serve_front(ReadyList& let_pass) noexcept;
  bool lets_pass(Queue& queue) noexcept;
  Taken take_from(Queue& queue, std::uint32_t& taken) noexcept;
  bool has_its_share(const Queue& queue) const noexcept;
  bool take_one(Queue& queue) noexcept;
  RequestSlot* admit(const Request& request) noexcept;
  void charge(const RequestSlot& slot) noexcept;
  void refuse(Queue& queue, InFlightJournal::Index entry, const Refusal& refusal) noexcept;
  void move_tables_in() noexcept;
  void check_table(RequestSlot& slot) noexcept;
  void begin(RequestSlot& slot) noexcept;
  void go_on(RequestSlot& slot) noexcept;
  void move_data_in() noexcept;
  void start(RequestSlot& slot) noexcept;
  void submit_phase(RequestSlot& slot) noexcept;

  // pass_watch.cpp: whether to sleep, and how to find what comes without an event.
  void look_at_watched() noexcept;
  void wake_throttled() noexcept;
  void wake_throttled(LastTurn got) noexcept;
  std::chrono::nanoseconds patience_of_pass(std::chrono::nanoseconds patience) noexcept;
  bool arm_watched() noexcept;
  bool arm(Queue& queue) noexcept;
  void watch(Queue& queue) noexcept;
  void unmask_idle() noexcept;

  // pass_answer.cpp: from the image to the rings.
  static void on_image_done(ImageRequest& request) noexcept;
  void image_done(RequestSlot& slot) noexcept;
  void move_data_out() noexcept;
  void piece_done(RequestSlot& slot) noexcept;
  void answer_finished() noexcept;
  void answer(RequestSlot& slot) noexcept;
  void count(const RequestSlot& slot) noexcept;
  void measure(const RequestSlot& slot) noexcept;
  void tell_slow(const RequestSlot& slot) noexcept;
  void give_back(RequestSlot& slot) noexcept;
  void mark_unpublished(Queue& queue) noexcept;
  void publish() noexcept;

  // pass_storage.cpp: what the image has failed.
  Taken take_in_trouble(Queue& queue, std::uint32_t& taken) noexcept;
  Taken retake_from(Queue& queue, std::uint32_t& taken) noexcept;
  Taken refuse_from(Queue& queue, std::uint32_t& taken) noexcept;
  void refuse_next(Queue& queue) noexcept;
  void image_failed(RequestSlot& slot) noexcept;
  void put_off_failed() noexcept;
  void put_off(RequestSlot& slot) noexcept;
  void look_at_troubled() noexcept;
  void end_trouble(Queue& queue) noexcept;
  void refuse_abandoned() noexcept;
  std::chrono::nanoseconds until_retry(std::chrono::nanoseconds patience) const noexcept;

  // worker_core.cpp
  bool has_work() const noexcept;
  Queue* find(QueueId id) noexcept;
  void stop_serving(Queue& queue) noexcept;
  void tell_paused();
  void make_ready(Queue& queue) noexcept;
  void remove_drained();
  void remove(std::unique_ptr<Queue> queue);
  Guest& guest_of(DomainId peer);
  DiskShare& share_of(const Queue& queue);

  LoopEngine& engine_;
  EventChannels& channels_;
  GrantTable& grants_;
  const Clock& clock_;
  SlotPool slots_;
  BufferPool buffers_;
  DataMover mover_;
  WorkerCounters counters_;

  std::vector<std::unique_ptr<Queue>> queues_;
  std::vector<std::unique_ptr<Guest>> guests_;
  std::vector<std::unique_ptr<DiskShare>> shares_;
  std::unordered_map<std::uint32_t, Queue*> by_port_;
  std::uint64_t next_queue_id_ = 1;

  // Queues that may have requests to take, in the order in which they are served. One that finds no
  // slot or buffer keeps its place at the front until it does, and the others wait behind it: a
  // large request cannot be starved by small ones. Two let them pass: one whose disk holds its
  // share already, and one that lacks what operations hold that do not come back, until one of them
  // does.
  ReadyList ready_;
  bool starved_ = false;
  bool waits_for_quiet_ = false;        // the one at the front
  std::uint64_t activity_starved_ = 0;  // activity_ when a queue found nothing last
  Instant quiet_since_;                 // activity_ has been that
  Instant let_pass_at_;                 // a queue began to, last
  Instant old_freed_at_;                // a request that was taken before let_pass_at_
  // Queues whose guests were not asked for an event: they are looked at in every pass, and armed
  // before the thread sleeps. Every queue that is served is in this list, in one of the other two,
  // or armed.
  WatchedList watched_;
  ReadyList throttled_;
  Poller poller_;
  std::uint64_t activity_ = 0;       // requests taken and finished, ever
  std::uint64_t activity_seen_ = 0;  // when the poller was asked last
  UnpublishedList unpublished_;
  SlotList finished_;              // nothing left to do but to answer
  SlotList failed_;                // to be put off
  std::vector<EventPort> unmask_;  // of queues that went idle in this pass
  std::uint32_t closing_ = 0;      // queues that are to go
  std::uint32_t pausing_ = 0;      // queues whose pause somebody waits for
  std::uint32_t troubled_ = 0;     // queues whose storage has failed and not yet recovered
  bool events_signalled_ = true;
  Instant now_;        // of this pass's taking, and later of its answering
  Instant turned_at_;  // the engine gave back what was done
};

}  // namespace xenblk::ringio
