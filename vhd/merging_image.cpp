#include "vhd/merging_image.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "vhd/request.h"

namespace xenblk::vhd {
namespace {

// More than workers usually have request slots; others wait.
constexpr std::size_t kWritesMax = 4096;

}  // namespace

MergingImage::MergingImage(std::shared_ptr<Image> child, std::shared_ptr<Image> parent)
    : child_(std::move(child)), parent_(std::move(parent)) {
  assert(child_->capacity() == parent_->capacity());
  inside_.reserve(kWritesMax);
  progress_->capacity = child_->capacity();
}

MergingImage::~MergingImage() {
  end_thread();
}

void MergingImage::submit(ImageRequest& request) noexcept {
  const auto refused = refusal(request, capacity(), Access::read_write);
  switch (request.op) {
    case ImageOp::read:
    case ImageOp::flush:
      return child_->submit(request);
    case ImageOp::write:
      if (refused != IoStatus::okay) return child_->submit(request);
      begin(request);
      return begin_write(request);
    case ImageOp::discard:
      // A hint. Holes in the child would have to be told from what it never had.
      begin(request);
      return answer_later(request, refused);
    case ImageOp::write_zeroes:
      begin(request);
      return answer_later(request, IoStatus::unsupported);
  }
}

void MergingImage::begin_write(ImageRequest& request) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!may_enter(request)) return waiting_.push_back(request);
    request.outer = {this, request.done, request.first.n < copied_until_};
    inside_.push_back(&request);
  }
  request.done = &child_written;
  child_->submit(request);
}

void MergingImage::child_written(ImageRequest& request) noexcept {
  auto& self = static_cast<MergingImage&>(*request.outer.image);
  if (!request.outer.second_too || self.broken_.load() != nullptr) return self.leave(request);
  // Nobody knows what of it the child has now.
  if (request.status != IoStatus::okay) {
    self.break_off("a write of the guest to the child failed");
    return self.leave(request);
  }
  request.done = &parent_written;
  self.parent_->submit(request);
}

// The guest's write is done: it is in the child.
void MergingImage::parent_written(ImageRequest& request) noexcept {
  auto& self = static_cast<MergingImage&>(*request.outer.image);
  if (request.status == IoStatus::no_space) self.break_off("no space for the parent");
  if (request.status != IoStatus::okay) self.break_off("the parent cannot be written");
  request.status = IoStatus::okay;
  self.leave(request);
}

void MergingImage::leave(ImageRequest& request) noexcept {
  request.done = request.outer.done;
  ImageRequestList woken;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(inside_, &request);
    assert(found != inside_.end());
    *found = inside_.back();
    inside_.pop_back();
    if (kept_out_.end != 0) changed_.notify_all();
    if (!waiting_.empty()) woken = take_waiting();
  }
  resume(std::move(woken));
  request.done(request);
}

bool MergingImage::may_enter(const ImageRequest& request) const noexcept {
  const auto range = range_of(request);
  if (overlap(range, kept_out_) || inside_.size() == inside_.capacity()) return false;
  return std::ranges::none_of(inside_,
                              [&](const auto* other) { return overlap(range, range_of(*other)); });
}

// Those that could enter now; whoever of them comes first keeps out others again.
ImageRequestList MergingImage::take_waiting() noexcept {
  ImageRequestList taken;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    auto& request = *it++;
    if (!may_enter(request)) continue;
    waiting_.erase(waiting_.iterator_to(request));
    request.outer.image = this;
    taken.push_back(request);
  }
  return taken;
}

void MergingImage::resume(ImageRequestList woken) noexcept {
  while (!woken.empty()) {
    auto& request = woken.front();
    woken.pop_front();
    request.task.run = [](Task& task) noexcept {
      auto& again = request_of(task);
      static_cast<MergingImage&>(*again.outer.image).begin_write(again);
    };
    request.engine->post(request.task);
  }
}

void MergingImage::break_off(const char* why) noexcept {
  const char* none = nullptr;
  broken_.compare_exchange_strong(none, why);
}

Expected<void> MergingImage::finish() {
  end_thread();
  auto parent = parent_->finish();
  auto child = child_->finish();
  return child ? parent : child;
}

}  // namespace xenblk::vhd
