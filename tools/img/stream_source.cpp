#include "tools/img/stream_source.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

#include "tools/img/drive.h"
#include "vhd/request.h"

namespace xenblk::img {
namespace {

// Asked for again this often, because the end shows only when it is met.
constexpr std::uint64_t kExtentSectors = 2048;

// A read would not wait: there is data, or the end, or an error to be told of.
bool is_readable(int descriptor, std::chrono::milliseconds patience = {}) {
  pollfd one = {.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, static_cast<int>(patience.count())) > 0;
}

}  // namespace

StreamSource::StreamSource(int descriptor, SectorCount capacity, ringio::UringEngine& engine)
    : descriptor_(descriptor), info_{.format = "stream", .capacity = capacity} {
  watch_.descriptor = descriptor;
  watch_.source = this;
  watch_.ready = [](ringio::Watch& watch) noexcept {
    static_cast<OwnWatch&>(watch).source->pump();
  };
  engine.watch(watch_);
}

void StreamSource::submit(ImageRequest& request) noexcept {
  vhd::begin(request);
  const auto refused = vhd::refusal(request, info_);
  if (refused != IoStatus::okay) return vhd::answer_later(request, refused);
  if (request.op == ImageOp::flush) return vhd::answer_later(request, IoStatus::okay);
  waiting_.push_back(request);
  pump();
}

void StreamSource::pump() noexcept {
  while (!waiting_.empty() && fill_first()) {
    auto& request = waiting_.front();
    waiting_.pop_front();
    const auto bytes = request.count.n * kSectorBytes;
    std::memset(request.data + filled_bytes_, 0, bytes - filled_bytes_);
    filled_bytes_ = 0;
    vhd::answer_later(request, error_ == 0 ? IoStatus::okay : IoStatus::io_error);
  }
}

// False when the stream has nothing more for now.
bool StreamSource::fill_first() noexcept {
  const auto& request = waiting_.front();
  const auto bytes = request.count.n * kSectorBytes;
  while (filled_bytes_ < bytes && !ended_ && error_ == 0) {
    if (!is_readable(descriptor_)) return false;
    const auto n = ::read(descriptor_, request.data + filled_bytes_, bytes - filled_bytes_);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n < 0) error_ = errno;
    if (n == 0) ended_ = true;
    if (n <= 0) break;
    filled_bytes_ += static_cast<std::uint64_t>(n);
    bytes_ += static_cast<std::uint64_t>(n);
  }
  return true;
}

Expected<ImageExtent> StreamSource::extent_at(SectorIndex first) {
  assert(first.n < info_.capacity.n);
  const SectorCount left{info_.capacity.n - first.n};
  if (ended_ && first.n * kSectorBytes >= bytes_) {
    return ImageExtent{ImageExtent::Kind::zero, left};
  }
  return ImageExtent{ImageExtent::Kind::data, {std::min(left.n, kExtentSectors)}};
}

void StreamSource::stop() noexcept {
  if (error_ == 0) error_ = EINTR;
  pump();
}

Expected<bool> StreamSource::goes_on(const InterruptGuard& interrupts) {
  while (!ended_) {
    if (interrupts.interrupted()) return interrupted();
    if (!is_readable(descriptor_, kPatience)) continue;
    std::byte next;
    const auto n = ::read(descriptor_, &next, 1);
    if (n == 1) return true;
    if (n == 0) ended_ = true;
    if (n < 0 && errno != EAGAIN && errno != EINTR) return fail_os(error_ = errno, "read");
  }
  return false;
}

}  // namespace xenblk::img
