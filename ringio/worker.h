// A worker: one thread with an io_uring, an event-channel handle, a grant-table handle and the
// queues that were given to it. This is the control plane's whole view of the data plane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ringio/counters.h"
#include "ringio/poller.h"
#include "ringio/queue_setup.h"
#include "xenblk/error.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

struct WorkerOptions {
  std::string name = "xenblk";          // of the thread; the kernel keeps 15 characters
  std::optional<std::uint32_t> cpu;     // pin the thread and its events to this CPU
  std::uint32_t request_slots = 512;    // requests in flight, over all queues
  std::size_t arena_bytes = 16U << 20;  // memory for their data; rounded up to a multiple of 1 MiB
  std::uint32_t submission_entries = 256;  // of the io_uring
  bool restricted_ring = true;             // see UringOptions
  PollingOptions polling = {};
};

// Pinned; owned by the control plane. Every function may be called by any thread, the worker's own
// included (from a `done` or a `notice`); none of them waits except start() and the destructor.
// A simulator has workers of its own, whose loop it runs itself.
class Worker {
 public:
  using ConnectDone = std::function<void(Expected<QueueId>)>;
  using DisconnectDone = std::function<void()>;

  // Errors: unavailable (the Xen seam), io or permission (io_uring, memory, the CPU).
  static Expected<std::unique_ptr<Worker>> start(Xen& xen, WorkerOptions options);

  // No queue may be connected or connecting. Not on the worker's own thread.
  virtual ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Maps the ring, binds the port and begins to serve; takes over where the ring's rsp_prod stands.
  // `done` runs once, on the worker's thread. Errors: bad_grant (the ring cannot be mapped),
  // bad_port, refused (a value of `setup` or the ring's indices make no sense), no_memory, io.
  virtual void connect(QueueSetup setup, ConnectDone done) = 0;

  // Stops taking requests, waits for those in flight, publishes their responses, frees port and
  // mapping, drops the image, and then runs `done`, once, on the worker's thread. An image that
  // hangs holds up `done` but nothing else. An unknown id (a queue that was disconnected already)
  // is done at once; two disconnects of one queue are both told when it is gone.
  virtual void disconnect(QueueId queue, DisconnectDone done) = 0;

  // As disconnect(), but a request that waits for its storage (StoragePolicy) stays open in the
  // queue's journal, for the daemon after us. disconnect() answers it with an error, and so does
  // this where there is no journal.
  virtual void detach(QueueId queue, DisconnectDone done) = 0;

  // The disk of this queue has grown: once `done` has run, on the worker's thread, requests up to
  // the new end are served. An unknown id is done at once.
  virtual void set_capacity(QueueId queue, SectorCount capacity, std::function<void()> done) = 0;

  // Another image for this queue, with the disk's size now. Only while it is paused and nothing is
  // in flight. Once `done` has run, on the worker's thread, the queue holds no share of the earlier
  // one. An unknown id is done at once.
  virtual void set_image(QueueId queue, std::shared_ptr<Image> image,
                         std::function<void()> done) = 0;

  // A minute has gone: pages of this queue's guest that stay mapped (GrantCache::age).
  virtual void age_grants(QueueId queue) = 0;

  // Takes no more requests from this queue; `done` runs, on the worker's thread, when all that were
  // taken are answered, or when the queue was resumed or disconnected before. An unknown id is done
  // at once.
  virtual void pause(QueueId queue, std::function<void()> done) = 0;
  // Also tries at once what waits for its storage.
  virtual void resume(QueueId queue) = 0;
  // Looks again at what waits: a RateLimiter was set anew.
  virtual void wake() = 0;
  virtual void set_polling(const PollingOptions& polling) = 0;

  virtual const WorkerCounters& counters() const = 0;

 protected:
  Worker() = default;
};

}  // namespace xenblk::ringio
