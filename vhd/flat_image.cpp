#include "vhd/flat_image.h"

#include <cassert>
#include <utility>

#include "vhd/request.h"

namespace xenblk::vhd {

FlatImage::FlatImage(std::unique_ptr<File> file, ImageInfo info)
    : file_(std::move(file)), info_(std::move(info)), flushes_(*file_) {}

void FlatImage::submit(ImageRequest& request) noexcept {
  begin(request);
  const auto refused = refusal(request, info_);
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
      return answer_later(request, IoStatus::unsupported);
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
                 .access = file->access()};
  return std::make_unique<FlatImage>(std::move(file), std::move(info));
}

}  // namespace xenblk::vhd
