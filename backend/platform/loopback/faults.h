// Faults that a test asks the loopback Xen to produce. All are off until set; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "xenblk/xen.h"

namespace xenblk::loopback {

// Counts down to the one occasion that shall fail.
class Countdown {
 public:
  // The nth occasion from now (1 = the next); 0 = none.
  void set(std::uint32_t nth) { left_ = nth; }
  bool hit() {
    auto seen = left_.load();
    while (seen > 0 && !left_.compare_exchange_weak(seen, seen - 1)) {
    }
    return seen == 1;
  }

 private:
  std::atomic<std::uint32_t> left_ = 0;
};

// A number of next occasions that shall all fail.
class Budget {
 public:
  void set(std::uint32_t count) { left_ = count; }
  bool take() {
    auto seen = left_.load();
    while (seen > 0 && !left_.compare_exchange_weak(seen, seen - 1)) {
    }
    return seen > 0;
  }

 private:
  std::atomic<std::uint32_t> left_ = 0;
};

class Faults {
 public:
  Countdown refuse_map;          // answers bad_grant
  Countdown map_without_memory;  // answers no_memory
  Countdown refuse_copy;         // this segment answers copy_refusal
  std::atomic<CopyStatus> copy_refusal = CopyStatus::failed;
  Countdown refuse_bind;    // answers bad_port
  Budget lost_events;       // notify that does not arrive
  Budget doubled_events;    // notify that arrives twice
  Budget commit_conflicts;  // commit that reports a conflict
  Budget failed_writes;     // XenStore write that answers io (EIO)

  // Reads of `path` by any connection give `value` instead of what is there.
  void set_garbage(std::string path, std::string value) {
    const std::scoped_lock lock(mutex_);
    garbage_[std::move(path)] = std::move(value);
  }
  // Reads of `path` answer not_found although the node is there.
  void set_vanished(std::string path) {
    const std::scoped_lock lock(mutex_);
    garbage_[std::move(path)] = std::nullopt;
  }
  void clear_nodes() {
    const std::scoped_lock lock(mutex_);
    garbage_.clear();
  }
  // What a read of `path` shall give; nothing when it is not disturbed.
  std::optional<Expected<std::string>> disturbed_read(std::string_view path) const {
    const std::scoped_lock lock(mutex_);
    const auto found = garbage_.find(path);
    if (found == garbage_.end()) return std::nullopt;
    if (found->second) return Expected<std::string>(*found->second);
    return Expected<std::string>(fail(Errc::not_found, std::string(path), ENOENT));
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::optional<std::string>, std::less<>> garbage_;  // under mutex_
};

}  // namespace xenblk::loopback
