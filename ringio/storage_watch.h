// A storage that fails, as one queue has to do with it: what its disk's administrator wants, who is
// told, and how far the queue has got with what it keeps meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "ringio/storage_policy.h"
#include "xenblk/clock.h"
#include "xenblk/units.h"

namespace xenblk::ringio {

// One for each change, however many requests have failed.
struct StorageNotice {
  enum class Change : std::uint8_t {
    waits,      // from now on nothing is taken, and what fails is kept and done again
    recovered,  // all that was kept is done
    stopped,    // from now on all requests are refused
  };
  Change change = Change::waits;
  StorageFailure failure;  // not for recovered
  SectorIndex first;       // of the request that failed
};

struct StorageSetup {
  StoragePolicy policy;
  // Of the disk, all queues of which share it: all requests are refused. Set by the queue whose
  // policy is to stop, taken back by the control plane. May be empty: the queue then makes its own.
  std::shared_ptr<std::atomic<bool>> refuses;
  // On the worker's thread. Must not block. May be empty.
  std::function<void(const StorageNotice&)> tell;
};

// How a queue gets over failures of its storage. One thread.
//
//   good -> waiting -> retrying -> good
//              ^___________|
//
class StorageRecovery {
 public:
  bool troubled() const { return state_ != State::good; }
  // Nothing is taken.
  bool waiting() const { return state_ == State::waiting; }
  // What was kept is taken again, and nothing else.
  bool retrying() const { return state_ == State::retrying; }
  Instant retry_at() const { return retry_at_; }

  // A request has failed and is kept. Those that fail while it waits count as one.
  void hold(Instant now) {
    if (waiting()) return;
    state_ = State::waiting;
    ++failures_;
    retry_at_ = {now.ns + static_cast<std::uint64_t>(retry_after(failures_).count())};
  }
  void retry_at_once() { retry_at_ = {}; }
  void retry() { state_ = State::retrying; }
  void recover() { *this = {}; }

 private:
  enum class State : std::uint8_t { good, waiting, retrying };
  State state_ = State::good;
  std::uint32_t failures_ = 0;  // in a row
  Instant retry_at_;
};

}  // namespace xenblk::ringio
