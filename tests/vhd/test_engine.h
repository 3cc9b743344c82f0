// Engines for tests: nothing runs by itself, poll() does the next things on the calling thread.
#pragma once

#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <mutex>

#include <fcntl.h>

#include "xenblk/io.h"

namespace xenblk::test {

class TestEngine : public IoEngine {
 public:
  // Runs what is due; false when nothing was.
  virtual bool poll() = 0;

  void post(Task& task) noexcept override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(task);
  }

 protected:
  // Only the tasks that are there now: one that posts again does not keep this call busy for ever.
  bool run_tasks() {
    TaskList now;
    {
      const std::lock_guard lock(mutex_);
      now.swap(tasks_);
    }
    const bool any = !now.empty();
    while (!now.empty()) {
      auto& task = now.front();
      now.pop_front();
      task.run(task);
    }
    return any;
  }

 private:
  std::mutex mutex_;
  TaskList tasks_;
};

// Does operations on real files, one after the other, when it is polled.
class FileEngine final : public TestEngine {
 public:
  ~FileEngine() override { assert(queue_.empty()); }

  void submit(IoOp& op) noexcept override {
    assert(op.done != nullptr && op.file != nullptr);
    queue_.push_back(op);
  }

  bool poll() override {
    bool any = run_tasks();
    IoOpList now;
    now.swap(queue_);
    while (!now.empty()) {
      auto& op = now.front();
      now.pop_front();
      op.result = perform(op);
      op.done(op);
      any = true;
    }
    return any;
  }

 private:
  static std::int64_t perform(const IoOp& op) {
    switch (op.kind) {
      case IoKind::read:
      case IoKind::write:
        return transfer(op);
      case IoKind::sync_data:
        return ::fdatasync(op.file->descriptor()) == 0 ? 0 : -errno;
      case IoKind::punch_hole:
        return punch_hole(op);
    }
    return -EINVAL;
  }

  static std::int64_t punch_hole(const IoOp& op) {
    constexpr int mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    const auto result = ::fallocate(op.file->descriptor(), mode, static_cast<off_t>(op.offset),
                                    static_cast<off_t>(op.bytes));
    return result == 0 ? 0 : -errno;
  }

  static std::int64_t transfer(const IoOp& op) {
    std::uint64_t done = 0;
    while (done < op.bytes) {
      const auto at = static_cast<off_t>(op.offset + done);
      const int fd = op.file->descriptor();
      const auto n = op.kind == IoKind::read ? ::pread(fd, op.buffer + done, op.bytes - done, at)
                                             : ::pwrite(fd, op.buffer + done, op.bytes - done, at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return -errno;
      if (n == 0) break;
      done += static_cast<std::uint64_t>(n);
      if (done % op.file->alignment_bytes() != 0) break;
    }
    return static_cast<std::int64_t>(done);
  }

  IoOpList queue_;
};

}  // namespace xenblk::test
