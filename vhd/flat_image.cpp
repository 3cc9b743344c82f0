#include "vhd/flat_image.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "vhd/format/bytes.h"
#include "vhd/request.h"
#include "vhd/zeroes.h"

namespace xenblk::vhd {
namespace {

ImageInfo of_file(ImageInfo info, const File& file) {
  info.cached = file.alignment_bytes() < kSectorBytes;
  return info;
}

}  // namespace

FlatImage::FlatImage(std::unique_ptr<File> file, ImageInfo info, FlatSize size)
    : file_(std::move(file)),
      info_(of_file(std::move(info), *file_)),
      size_(size),
      sectors_(info_.capacity.n),
      flushes_(*file_) {
  shared_zeroes();  // makes them before the first request
}

FlatImage& FlatImage::of(ImageRequest& request) {
  return *reinterpret_cast<FlatImage*>(request.scratch[0]);
}

void FlatImage::submit(ImageRequest& request) noexcept {
  begin(request);
  const auto refused = refusal(request, capacity(), info_.access);
  if (refused != IoStatus::okay) return answer_later(request, refused);
  switch (request.op) {
    case ImageOp::read:
    case ImageOp::write:
      return transfer(request);
    case ImageOp::flush:
      if (info_.access == Access::read_only) return answer_later(request, IoStatus::okay);
      return flushes_.submit(request);
    case ImageOp::discard:
    case ImageOp::write_zeroes:
      return make_hole(request);
  }
}

void FlatImage::transfer(ImageRequest& request) noexcept {
  if (request.count.n == 0) return answer_later(request, IoStatus::okay);
  auto& piece = request.pieces[0];
  piece.request = &request;
  piece.kind = request.op == ImageOp::read ? IoKind::read : IoKind::write;
  piece.file = file_.get();
  piece.offset = request.first.n * kSectorBytes;
  piece.buffer = request.data;
  piece.bytes = request.count.n * kSectorBytes;
  piece.done = [](IoOp& op) noexcept {
    auto& finished = *static_cast<ImageRequest::Piece&>(op).request;
    if (op.kind == IoKind::read && op.result >= 0) zero_what_was_not_read(op);
    finished.in_flight = 0;
    answer(finished, status_from_result(op.result));
  };
  request.in_flight = 1;
  request.engine->submit(piece);
}

// On a block device this is a write of zeroes that the device does itself.
void FlatImage::make_hole(ImageRequest& request) noexcept {
  if (request.count.n == 0) return answer_later(request, IoStatus::okay);
  request.scratch[0] = reinterpret_cast<std::uintptr_t>(this);
  auto& piece = request.pieces[0];
  piece.request = &request;
  piece.kind = IoKind::punch_hole;
  piece.file = file_.get();
  piece.offset = request.first.n * kSectorBytes;
  piece.bytes = request.count.n * kSectorBytes;
  piece.done = [](IoOp& op) noexcept {
    auto& finished = *static_cast<ImageRequest::Piece&>(op).request;
    of(finished).hole_made(finished, op.result);
  };
  request.in_flight = 1;
  request.engine->submit(piece);
}

// A file without holes cannot discard, which is no error of the guest; zeroes it can have.
void FlatImage::hole_made(ImageRequest& request, std::int64_t result) noexcept {
  request.in_flight = 0;
  if (result != -EOPNOTSUPP) return answer(request, status_from_result(result));
  if (request.op == ImageOp::discard) return answer(request, IoStatus::unsupported);
  write_next_zeroes(request);
}

void FlatImage::write_next_zeroes(ImageRequest& request) noexcept {
  if (request.sectors_planned == request.count.n) return answer(request, IoStatus::okay);
  const auto left = (request.count.n - request.sectors_planned) * kSectorBytes;
  auto& piece = request.pieces[0];
  piece.kind = IoKind::write;
  piece.offset = (request.first.n + request.sectors_planned) * kSectorBytes;
  piece.buffer = shared_zeroes().data();
  piece.bytes = std::min<std::uint64_t>(left, shared_zeroes().size());
  piece.done = [](IoOp& op) noexcept {
    auto& written = *static_cast<ImageRequest::Piece&>(op).request;
    written.in_flight = 0;
    if (op.result < 0) return answer(written, status_from_result(op.result));
    of(written).write_next_zeroes(written);
  };
  request.sectors_planned += piece.bytes / kSectorBytes;
  request.in_flight = 1;
  request.engine->submit(piece);
}

// Sectors that are only in part a hole count as data.
Expected<ImageExtent> FlatImage::extent_at(SectorIndex first) {
  assert(first.n < capacity().n);
  const auto offset = first.n * kSectorBytes;
  const auto left = capacity().n - first.n;
  const auto data = file_->next_data(offset);
  if (!data) return std::unexpected(data.error());
  const auto zero_sectors = (*data - offset) / kSectorBytes;
  if (zero_sectors > 0) {
    return ImageExtent{ImageExtent::Kind::zero, {std::min(zero_sectors, left)}};
  }
  const auto hole = file_->next_hole(offset);
  if (!hole) return std::unexpected(hole.error());
  const auto data_sectors = std::max<std::uint64_t>(1, divide_up(*hole - offset, kSectorBytes));
  return ImageExtent{ImageExtent::Kind::data, {std::min(data_sectors, left)}};
}

Expected<SectorCount> FlatImage::reread_capacity() {
  if (size_ == FlatSize::of_info) return Image::reread_capacity();
  const auto bytes = file_->size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  const auto now = *bytes / kSectorBytes;
  auto known = sectors_.load(std::memory_order_relaxed);
  if (now < known) {
    return fail(Errc::refused, "the file has become smaller: " + std::to_string(now) +
                                   " sectors, and the disk has " + std::to_string(known));
  }
  while (now > known && !sectors_.compare_exchange_weak(known, now, std::memory_order_relaxed)) {
  }
  return capacity();
}

Expected<SectorCount> FlatImage::grow(SectorCount capacity) {
  if (size_ == FlatSize::of_info) return Image::grow(capacity);
  const auto now = reread_capacity();
  if (!now) return now;
  if (capacity.n < now->n) {
    return fail(Errc::refused, fmt::format("a disk never shrinks under a guest: it has {} bytes",
                                           now->n * kSectorBytes));
  }
  if (capacity == *now) return now;
  if (file_->is_block_device()) {
    return fail(Errc::refused, "a block device is grown by the tool that made it");
  }
  if (info_.access == Access::read_only) return fail(Errc::permission, "it is open read-only");
  if (capacity.n > std::numeric_limits<std::int64_t>::max() / kSectorBytes) {
    return fail(Errc::refused, "larger than a file can be");
  }
  if (auto grown = file_->truncate(capacity.n * kSectorBytes); !grown) {
    return std::unexpected(std::move(grown.error()));
  }
  return reread_capacity();
}

Expected<void> FlatImage::finish() {
  return info_.access == Access::read_only ? Expected<void>{} : file_->sync_data();
}

Expected<std::unique_ptr<Image>> open_raw_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes) {
  const auto bytes = file->size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  if (*bytes < kSectorBytes) return fail(Errc::bad_image, "smaller than one sector");
  ImageInfo info{.format = "raw",
                 .capacity = {*bytes / kSectorBytes},
                 .physical_sector_bytes = physical_sector_bytes,
                 .access = file->access(),
                 .discard = file->access() == Access::read_write};
  return std::make_unique<FlatImage>(std::move(file), std::move(info), FlatSize::of_file);
}

}  // namespace xenblk::vhd
