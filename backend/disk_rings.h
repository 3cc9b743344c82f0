// All rings of one disk: connected together, disconnected together, whichever workers serve them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "backend/event_loop.h"
#include "backend/negotiation/session.h"
#include "ringio/worker.h"

namespace xenblk::backend {

// The workers of the daemon, and which of them is next in turn.
struct WorkerPool {
  std::vector<std::unique_ptr<ringio::Worker>> workers;
  std::size_t next = 0;

  ringio::Worker& take() { return *workers[next++ % workers.size()]; }
};

// What the rings of a disk have in common.
struct RingPlan {
  DomainId peer;
  DeviceId device;
  std::shared_ptr<Image> image;
  Access access = Access::read_only;
  std::uint32_t logical_sector_bytes = kSectorBytes;
  bool offer_discard = false;
  bool persistent_grants = false;
  std::uint32_t indirect_segments_max = 0;
  std::shared_ptr<ringio::RateLimiter> limiter;
  std::shared_ptr<ringio::RateLimiter> guest_limiter;
  ringio::SlowRequestWatch slow;
  ringio::StoragePolicy policy;
  std::shared_ptr<std::atomic<bool>> refuses;
  // Both on the worker's thread; the guest's number of the queue.
  std::function<void(std::size_t queue, const ringio::QueueNotice&)> notice;
  std::function<void(std::size_t queue, const ringio::StorageNotice&)> storage_notice;
  // Of the nth queue; nothing for a disk without journals.
  std::function<std::optional<ringio::JournalPlace>(std::size_t queue)> journal;
};

// Pinned; used by the loop's thread. Must not be destroyed while rings are connected or on their
// way.
class DiskRings {
 public:
  using ConnectDone = std::function<void(Expected<void>)>;
  using DisconnectDone = std::function<void()>;

  DiskRings(EventLoop& loop, WorkerPool& pool) : loop_(loop), pool_(pool) {}
  DiskRings(const DiskRings&) = delete;
  DiskRings& operator=(const DiskRings&) = delete;

  // Connects a queue for each of the session's. When one fails, the others are disconnected again
  // before `done` gets the first error. Only while nothing is connected.
  void connect(const negotiation::Session& session, const RingPlan& plan, ConnectDone done);
  // Drains and disconnects all. `done` runs when nothing of this disk is mapped or bound any more.
  void disconnect(DisconnectDone done);
  // As disconnect(), but what waits for the storage is left to the daemon after us.
  void detach(DisconnectDone done);
  // Takes no more requests; `done` runs when all that were taken are answered. resume() undoes it.
  // Those that connect later are not paused.
  void pause(const std::function<void()>& done);
  void resume();
  // The limits of the disk, or of its guest, were changed.
  void wake();
  // Of those that are connected; `done` runs when all of them serve requests up to there.
  void set_capacity(SectorCount capacity, const std::function<void()>& done);
  // Of those that are connected, while they are paused; `done` runs when none of them holds a share
  // of the earlier image.
  void set_image(const std::shared_ptr<Image>& image, const std::function<void()>& done);

  // Once a minute: pages of the guest that stay mapped though it does not use them.
  void age_grants();

  const std::vector<std::shared_ptr<ringio::QueueCounters>>& counters() const { return counters_; }

 private:
  // Asks each connected queue, and calls `done` on the loop's thread after the last answer.
  using Ask = std::function<void(ringio::Worker&, ringio::QueueId, std::function<void()>)>;
  void ask_all(const Ask& ask, const std::function<void()>& done);
  struct Connected {
    ringio::Worker* worker;
    ringio::QueueId id;
  };
  void connect_one(const negotiation::Session& session, const RingPlan& plan, std::size_t index);
  void connect_result(ringio::Worker& worker, Expected<ringio::QueueId> result);
  void all_answered();
  using Release = void (ringio::Worker::*)(ringio::QueueId, ringio::Worker::DisconnectDone);
  void release(Release how, DisconnectDone done);

  EventLoop& loop_;
  WorkerPool& pool_;
  std::vector<Connected> connected_;
  std::vector<std::shared_ptr<ringio::QueueCounters>> counters_;
  bool persistent_grants_ = false;
  std::size_t awaited_ = 0;
  Expected<void> outcome_;
  ConnectDone connect_done_;
};

}  // namespace xenblk::backend
