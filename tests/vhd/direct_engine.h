// An engine over the file's own calls that block: for files of any kind, at once and in order.
#pragma once

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "tests/vhd/test_engine.h"

namespace xenblk::test {

// The result of the operation, done by the calls of File.
inline std::int64_t perform_by_file(const IoOp& op) {
  auto& file = *op.file;
  const auto bytes = static_cast<std::int64_t>(op.bytes);
  const auto outcome = [](const Expected<void>& ok, std::int64_t result) -> std::int64_t {
    if (ok) return result;
    return ok.error().os_error != 0 ? -ok.error().os_error : -EIO;
  };
  switch (op.kind) {
    case IoKind::read: {
      const auto size = file.size_bytes().value_or(0);
      const auto there = op.offset >= size ? 0 : std::min(op.bytes, size - op.offset);
      return outcome(file.read_at(op.offset, {op.buffer, there}), static_cast<std::int64_t>(there));
    }
    case IoKind::write:
      return outcome(file.write_at(op.offset, {op.buffer, op.bytes}), bytes);
    case IoKind::sync_data:
      return outcome(file.sync_data(), 0);
    case IoKind::punch_hole:
      return outcome(file.punch_hole(op.offset, op.bytes), 0);
  }
  return -EINVAL;
}

class DirectEngine final : public TestEngine {
 public:
  ~DirectEngine() override { assert(queue_.empty()); }
  void submit(IoOp& op) noexcept override { queue_.push_back(op); }

  bool poll() override {
    bool any = run_tasks();
    IoOpList now;
    now.swap(queue_);
    while (!now.empty()) {
      auto& op = now.front();
      now.pop_front();
      op.result = perform_by_file(op);
      op.done(op);
      any = true;
    }
    return any;
  }

 private:
  IoOpList queue_;
};

}  // namespace xenblk::test
