#include "vhd/blocking_engine.h"

#include <algorithm>

namespace xenblk::vhd {
namespace {

std::int64_t result_of(const Expected<void>& done, std::uint64_t bytes) {
  if (done) return static_cast<std::int64_t>(bytes);
  return -(done.error().os_error != 0 ? done.error().os_error : EIO);
}

// One that meets the end of the file is short.
std::int64_t read(const IoOp& op) {
  const auto size = op.file->size_bytes();
  if (!size) return result_of(std::unexpected(size.error()), 0);
  const auto there = *size > op.offset ? *size - op.offset : 0;
  const auto bytes = std::min(op.bytes, there);
  return result_of(op.file->read_at(op.offset, {op.buffer, bytes}), bytes);
}

}  // namespace

IoStatus BlockingEngine::run(Image& image, const Call& call) {
  struct Awaited : ImageRequest {
    bool answered = false;
  } request;
  request.op = call.op;
  request.first = call.first;
  request.count = call.count;
  request.data = call.data;
  request.engine = this;
  request.done = [](ImageRequest& done) noexcept { static_cast<Awaited&>(done).answered = true; };
  image.submit(request);
  while (!request.answered) take_a_turn();
  return request.status;
}

void BlockingEngine::post(Task& task) noexcept {
  const std::lock_guard lock(mutex_);
  tasks_.push_back(task);
  posted_.notify_one();
}

// Operations that the image has handed in, or else what others have posted.
void BlockingEngine::take_a_turn() {
  if (!waiting_.empty()) {
    auto& op = waiting_.front();
    waiting_.pop_front();
    op.result = perform(op);
    return op.done(op);
  }
  TaskList posted;
  {
    std::unique_lock lock(mutex_);
    posted_.wait(lock, [this] { return !tasks_.empty(); });
    posted.swap(tasks_);
  }
  while (!posted.empty()) {
    auto& task = posted.front();
    posted.pop_front();
    task.run(task);
  }
}

std::int64_t BlockingEngine::perform(const IoOp& op) {
  switch (op.kind) {
    case IoKind::read:
      return read(op);
    case IoKind::write:
      return result_of(op.file->write_at(op.offset, {op.buffer, op.bytes}), op.bytes);
    case IoKind::sync_data:
      return result_of(op.file->sync_data(), 0);
    case IoKind::punch_hole:
      return result_of(op.file->punch_hole(op.offset, op.bytes), 0);
  }
  return -EOPNOTSUPP;
}

}  // namespace xenblk::vhd
