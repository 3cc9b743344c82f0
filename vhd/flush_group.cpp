#include "vhd/flush_group.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace xenblk::vhd {
namespace {

bool is_flush(const ImageRequest& request) {
  return request.op == ImageOp::flush;
}

}  // namespace

FlushGroup::~FlushGroup() {
  assert(!syncing_);
  assert(waiting_.empty());
}

void FlushGroup::submit(ImageRequest& request) noexcept {
  assert(request.op == ImageOp::flush);
  sync(request, &answer);
}

void FlushGroup::sync(ImageRequest& request, Then then) noexcept {
  auto& piece = request.pieces[0];
  assert(piece.request == nullptr);
  piece.request = &request;
  piece.tag = reinterpret_cast<std::uintptr_t>(this);
  scratch(request, Scratch::then) = reinterpret_cast<std::uintptr_t>(then);
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

FlushGroup& FlushGroup::of(ImageRequest& request) {
  return *reinterpret_cast<FlushGroup*>(request.pieces[0].tag);
}

Then FlushGroup::then_of(ImageRequest& request) {
  return reinterpret_cast<Then>(scratch(request, Scratch::then));
}

// On the leader's thread. Whoever waits by now joins: all their writes completed before this sync.
void FlushGroup::start(ImageRequest& leader) noexcept {
  {
    const std::lock_guard lock(mutex_);
    assert(syncing_ && sharing_.empty());
    sharing_.splice(sharing_.end(), waiting_);
  }
  auto& piece = leader.pieces[0];
  piece.kind = IoKind::sync_data;
  piece.file = &file_;
  piece.done = [](IoOp& op) noexcept {
    auto& request = *static_cast<ImageRequest::Piece&>(op).request;
    of(request).finished(request);
  };
  leader.engine->submit(piece);
}

void FlushGroup::finished(ImageRequest& leader) noexcept {
  const auto status = status_from_result(leader.pieces[0].result);
  auto status_of_flushes = status;
  TaskList shared;
  ImageRequest* next = nullptr;
  {
    const std::lock_guard lock(mutex_);
    shared.swap(sharing_);
    const bool any_flush = is_flush(leader) || std::ranges::any_of(shared, [](Task& task) {
                             return is_flush(request_of(task));
                           });
    status_of_flushes = status_of_flush(status, any_flush);
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
    request.pieces[0].request = nullptr;
    post_then(request, then_of(request), is_flush(request) ? status_of_flushes : status);
  }
  leader.pieces[0].request = nullptr;
  then_of(leader)(leader, is_flush(leader) ? status_of_flushes : status);
}

// Under the lock.
IoStatus FlushGroup::status_of_flush(IoStatus status, bool any_flush) noexcept {
  if (!any_flush) {
    owed_ = owed_ || (cached_ && status != IoStatus::okay);
    return status;
  }
  const bool owed = std::exchange(owed_, false);
  return owed && status == IoStatus::okay ? IoStatus::io_error : status;
}

void FlushGroup::missed_failure() noexcept {
  const std::lock_guard lock(mutex_);
  owed_ = cached_;
}

}  // namespace xenblk::vhd
