#include "tools/img/stream_target.h"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "vhd/aligned_buffer.h"
#include "vhd/request.h"

namespace xenblk::img {

StreamTarget::StreamTarget(int descriptor, SectorCount capacity)
    : descriptor_(descriptor),
      info_{.format = "stream", .capacity = capacity, .access = Access::read_write} {}

void StreamTarget::submit(ImageRequest& request) noexcept {
  vhd::begin(request);
  const auto refused = vhd::refusal(request, info_);
  if (refused != IoStatus::okay) return vhd::answer_later(request, refused);
  if (request.op == ImageOp::flush) {
    assert(waiting_.empty());
    if (error_ == 0) error_ = put_end();
    return vhd::answer_later(request, vhd::status_from_result(-error_));
  }
  const auto behind = std::ranges::find_if(
      waiting_, [&](const ImageRequest& other) { return other.first > request.first; });
  waiting_.insert(behind, request);
  while (!waiting_.empty() && (error_ != 0 || waiting_.front().first.n == next_sector_)) {
    auto& next = waiting_.front();
    waiting_.pop_front();
    if (error_ == 0) error_ = put(next);
    next_sector_ += next.count.n;
    vhd::answer_later(next, vhd::status_from_result(-error_));
  }
}

int StreamTarget::put(const ImageRequest& request) {
  const auto bytes = request.count.n * kSectorBytes;
  assert(request.op == ImageOp::write || request.op == ImageOp::write_zeroes);
  if (request.op == ImageOp::write_zeroes) return put_zeroes(bytes);
  return put_data({request.data, bytes});
}

Expected<ImageExtent> StreamTarget::extent_at(SectorIndex) {
  return fail(Errc::refused, "a stream cannot be looked at");
}

int StreamTarget::write_all(std::span<const std::byte> data) const {
  while (!data.empty()) {
    const auto n = ::write(descriptor_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return 0;
}

int StreamTarget::write_zeroes(std::uint64_t bytes) const {
  static const vhd::AlignedBuffer zeroes(1U << 20);
  while (bytes > 0) {
    const auto part = std::min<std::uint64_t>(bytes, zeroes.size());
    if (const int error = write_all(zeroes.first(part)); error != 0) return error;
    bytes -= part;
  }
  return 0;
}

}  // namespace xenblk::img
