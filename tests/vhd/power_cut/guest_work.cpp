#include "tests/vhd/power_cut/guest_work.h"

#include <algorithm>

namespace xenblk::power_cut {

GuestWork::GuestWork(SimStorage& storage, SectorModel& model, Image& image)
    : storage_(storage),
      model_(model),
      image_(image),
      sectors_(image.info().capacity.n),
      engines_{SimEngine(storage), SimEngine(storage), SimEngine(storage)} {
  for (auto& request : requests_) request.work = this;
}

void GuestWork::run(int steps) {
  for (int i = 0; i < steps && wrong_.empty(); ++i) {
    if (storage_.random(3) == 0) submit();
    engines_[storage_.random(kEngines)].poll();
  }
  drain();
}

void GuestWork::drain() {
  for (bool any = true; any;) {
    any = false;
    for (auto& engine : engines_) any |= engine.poll();
  }
  if (std::ranges::any_of(requests_, &Request::busy)) wrong_ = "a request was not answered";
}

void GuestWork::submit() {
  const auto free = std::ranges::find(requests_, false, &Request::busy);
  if (free == requests_.end()) return;
  auto& request = *free;
  request.op = choose_op();
  choose_range(request);
  if (request.op != ImageOp::flush && model_.is_busy(request.first.n, request.count.n)) return;
  begin(request);
  request.busy = true;
  request.data = request.buffer.data();
  request.engine = &engines_[storage_.random(kEngines)];
  request.done = [](ImageRequest& r) noexcept {
    auto& finished = static_cast<Request&>(r);
    finished.work->done(finished);
  };
  image_.submit(request);
}

ImageOp GuestWork::choose_op() {
  const auto dice = storage_.random(20);
  if (dice == 0) return ImageOp::flush;
  if (dice < 6) return ImageOp::read;
  if (!image_.info().discard || dice < 16) return ImageOp::write;
  return dice < 18 ? ImageOp::discard : ImageOp::write_zeroes;
}

// Half the work in a corner of the disk, so that blocks are met again and by several at once.
void GuestWork::choose_range(Request& request) {
  const auto range = storage_.random(2) == 0 ? (sectors_ + 7) / 8 : sectors_;
  const auto longest = std::min(range, storage_.random(2) == 0 ? 8 : kSectorsMax);
  request.count = {1 + storage_.random(longest)};
  request.first = {storage_.random(range - request.count.n + 1)};
}

void GuestWork::begin(Request& request) {
  switch (request.op) {
    case ImageOp::read:
      return model_.begin_read(request.first.n, request.count.n);
    case ImageOp::write:
      return model_.begin_write(request.first.n, data(request));
    case ImageOp::discard:
    case ImageOp::write_zeroes:
      return model_.begin_zeroes(request.first.n, request.count.n);
    case ImageOp::flush:
      request.promises = model_.begin_flush();
      return;
  }
}

void GuestWork::done(Request& request) {
  if (!request.busy) wrong_ = "a request was answered twice";
  request.busy = false;
  const bool okay = request.status == IoStatus::okay;
  if (!okay) ++failed_;
  switch (request.op) {
    case ImageOp::read:
      model_.end_read(request.first.n, request.count.n);
      if (okay && wrong_.empty()) {
        wrong_ = model_.check(request.first.n, data(request), Crash::none);
      }
      return;
    case ImageOp::write:
    case ImageOp::discard:
    case ImageOp::write_zeroes:
      return model_.end_write(request.first.n, request.count.n, okay);
    case ImageOp::flush:
      if (okay) model_.end_flush(request.promises);
      return;
  }
}

}  // namespace xenblk::power_cut
