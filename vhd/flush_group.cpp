#include "vhd/flush_group.h"

#include <cassert>

#include "vhd/request.h"

namespace xenblk::vhd {

FlushGroup::~FlushGroup() {
  assert(!syncing_);
  assert(waiting_.empty());
}

FlushGroup& FlushGroup::of(ImageRequest& request) {
  return *reinterpret_cast<FlushGroup*>(request.scratch[0]);
}

void FlushGroup::submit(ImageRequest& request) noexcept {
  assert(request.op == ImageOp::flush);
  request.scratch[0] = reinterpret_cast<std::uintptr_t>(this);
  {
    const std::lock_guard lock(mutex_);
    if (syncing_) {
      waiting_.push_back(request.task);
      return;
    }
    syncing_ = true;
  }
  start(request);
}

// On the leader's thread. Whoever waits by now joins: all their writes completed before this sync.
void FlushGroup::start(ImageRequest& leader) noexcept {
  {
    const std::lock_guard lock(mutex_);
    assert(syncing_ && sharing_.empty());
    sharing_.splice(sharing_.end(), waiting_);
  }
  auto& piece = leader.pieces[0];
  piece.request = &leader;
  piece.kind = IoKind::sync_data;
  piece.file = &file_;
  piece.done = [](IoOp& op) noexcept {
    auto& request = *static_cast<ImageRequest::Piece&>(op).request;
    of(request).finished(request);
  };
  leader.in_flight = 1;
  leader.engine->submit(piece);
}

void FlushGroup::finished(ImageRequest& leader) noexcept {
  const auto status = status_from_result(leader.pieces[0].result);
  TaskList shared;
  ImageRequest* next = nullptr;
  {
    const std::lock_guard lock(mutex_);
    shared.swap(sharing_);
    if (waiting_.empty()) {
      syncing_ = false;
    } else {
      next = &request_of(waiting_.front());
      waiting_.pop_front();
    }
  }
  if (next != nullptr) {
    next->task.run = [](Task& task) noexcept { of(request_of(task)).start(request_of(task)); };
    next->engine->post(next->task);
  }
  while (!shared.empty()) {
    auto& request = request_of(shared.front());
    shared.pop_front();
    answer_later(request, status);
  }
  leader.in_flight = 0;
  answer(leader, status);
}

}  // namespace xenblk::vhd
