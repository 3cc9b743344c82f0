// What a queue counts. Written by the queue's worker only, read by any thread at any time, also
// while the queue is being torn down: both sides hold a shared_ptr, and every number is an atomic
// of its own, so a reader may see numbers of different moments but never a torn one.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ringio/latency.h"

namespace xenblk::ringio {

// Everything that goes wrong with a ring or a request. Each kind has a counter; the first of a kind
// is reported through QueueSetup::notice.
enum class Trouble : std::uint8_t {
  unknown_operation,   // an operation number that blkif does not have
  not_offered,         // an operation that this disk does not offer
  segment_count,       // none where some are needed, or more than fit
  indirect_operation,  // an indirect request with something else than a read or a write inside
  segment_sectors,     // first_sect after last_sect, or beyond the page
  misaligned,          // not a multiple of the logical sector size
  out_of_range,        // beyond the end of the disk
  read_only_disk,      // a change of a disk that must not be changed
  grant_copy_failed,   // a page of the guest could not be read or written
  image_failed,        // the image answered an error
  ring_overrun,  // the producer index is further ahead than the ring is long: the ring is stopped
  disk_stopped,  // refused, as the disk was stopped when its storage failed
};
inline constexpr std::size_t kTroubleKinds = 12;

// One phrase for a log line.
std::string_view describe(Trouble trouble);

// One number: one writer, so no read-modify-write instruction is needed.
class Counter {
 public:
  void add(std::uint64_t amount) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

struct QueueCounters {
  // Requests that were answered okay, by kind. A barrier or flush that carried data counts as a
  // write too.
  Counter reads, writes, flushes, barriers, discards;
  Counter sectors_read, sectors_written, sectors_discarded;
  // Time between taking a request and answering it, summed over the requests above.
  Counter read_ns, write_ns;

  // Troubles by kind; all but ring_overrun are also requests that were answered with an error.
  std::array<Counter, kTroubleKinds> troubles;

  Counter in_flight;      // taken and not answered, now
  Counter events;         // events received from the guest
  Counter notifications;  // events sent to the guest
  Counter ring_stopped;   // 1 once the ring was stopped
  Counter throttled;      // times that the ring had to wait because too much in it was wrong
  Counter limited;        // times that it had to wait because of the limits of its disk
  Counter guest_limited;  // and because of those of its guest

  Counter kept;     // wait for the storage, which has failed them, now
  Counter retries;  // of requests that the storage had failed

  Latencies latencies;

  const Counter& operator[](Trouble trouble) const {
    return troubles[static_cast<std::size_t>(trouble)];
  }
  Counter& operator[](Trouble trouble) { return troubles[static_cast<std::size_t>(trouble)]; }
};

// One per worker.
struct WorkerCounters {
  Counter passes;   // turns of the loop
  Counter starved;  // passes that left requests in a ring because no slot or buffer was free
  Counter sleeps;   // passes that were willing to wait
  Counter queues;   // connected now
  Counter slots_in_use;
};

}  // namespace xenblk::ringio
