#include "vhd/dynamic_image.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "vhd/batmap_file.h"
#include "vhd/request.h"

namespace xenblk::vhd {
namespace {

// No more than the blocks that are there can use.
std::uint64_t bitmap_budget_bytes(const VhdLayout& layout, const VhdTuning& tuning) {
  const auto blocks = std::span(layout.entries).first(layout.block_count);
  const auto allocated =
      blocks.size() - static_cast<std::size_t>(std::ranges::count(blocks, kUnusedBlock));
  const auto lines = std::max<std::uint64_t>(4, allocated);
  return std::min(lines * layout.shape.bitmap_bytes(),
                  std::max(tuning.bitmap_budget_bytes, 16 * layout.shape.bitmap_bytes()));
}

}  // namespace

DynamicImage::DynamicImage(std::unique_ptr<File> file, const VhdLayout& layout,
                           const std::optional<WritableEnd>& end,
                           std::uint32_t physical_sector_bytes, const VhdTuning& tuning)
    : file_(std::move(file)),
      info_{.format = "vhd dynamic",
            .capacity = layout.capacity,
            .physical_sector_bytes = physical_sector_bytes,
            .access = file_->access()},
      shape_(layout.shape),
      map_(layout.entries, layout.block_count),
      bitmaps_(shape_.bitmap_bytes(), bitmap_budget_bytes(layout, tuning)),
      jobs_({*file_, map_, bitmaps_, shape_, layout.header.table_offset, layout.end_of_metadata},
            &DynamicImage::resume),
      flushes_(*file_) {
  assert(end.has_value() == (info_.access == Access::read_write));
  if (layout.batmap) mark_full_blocks(*layout.batmap, map_);
  if (!end) return;
  batmap_ = layout.batmap;
  jobs_.allow_writing({shape_, end->free, end->footer_offset, tuning.extent_bytes}, end->footer);
}

Expected<void> DynamicImage::finish() {
  auto finished = jobs_.finish();
  if (!finished || !batmap_) return finished;
  return store_batmap(*file_, *batmap_, full_blocks(*batmap_, map_));
}

DynamicImage& DynamicImage::of(ImageRequest& request) {
  return *reinterpret_cast<DynamicImage*>(request.scratch[0]);
}

void DynamicImage::submit(ImageRequest& request) noexcept {
  begin(request);
  const auto refused = refusal(request, info_);
  if (refused != IoStatus::okay) return answer_later(request, refused);
  switch (request.op) {
    case ImageOp::read:
    case ImageOp::write:
      request.scratch[0] = reinterpret_cast<std::uintptr_t>(this);
      return advance(request, Caller::submit);
    case ImageOp::flush:
      // A write was answered after its bitmap and its table entry were written: a sync covers them.
      if (info_.access == Access::read_only) return answer_later(request, IoStatus::okay);
      return flushes_.submit(request);
    case ImageOp::discard:
    case ImageOp::write_zeroes:
      return answer_later(request, IoStatus::unsupported);
  }
}

// Plans as far as pieces and blocks allow. Whoever brings one back calls this again; once nothing
// is left to plan and nothing is in flight the request is answered, and that happens once.
void DynamicImage::advance(ImageRequest& request, Caller caller) noexcept {
  while (request.status == IoStatus::okay && request.sectors_planned < request.count.n) {
    if (plan_next(request) == Planned::wait) return;
  }
  if (request.in_flight > 0) return;
  if (caller == Caller::submit) return answer_later(request, request.status);
  answer(request, request.status);
}

DynamicImage::Part DynamicImage::next_part(const ImageRequest& request) const {
  const auto first = request.first.n + request.sectors_planned;
  const auto block_sectors = shape_.block_sectors();
  const auto sector = first % block_sectors;
  const auto left = request.count.n - request.sectors_planned;
  return {{first / block_sectors}, {sector}, {std::min(left, block_sectors - sector)}};
}

DynamicImage::Planned DynamicImage::plan_next(ImageRequest& request) noexcept {
  const auto part = next_part(request);
  const bool reads = request.op == ImageOp::read;
  if (!map_.is_allocated(part.block)) {
    if (!reads) return want_block(request, part, BlockNeed::writable);
    read_zeroes(request, part.count);
    return Planned::more;
  }
  if (map_.state(part.block) == BlockState::full) return submit_piece(request, part);
  return reads ? plan_partial(request, part) : want_block(request, part, BlockNeed::writable);
}

DynamicImage::Planned DynamicImage::plan_partial(ImageRequest& request, const Part& part) noexcept {
  const auto run = bitmaps_.run(part.block, part.sector.n, part.count.n);
  if (!run) return want_block(request, part, BlockNeed::bitmap);
  if (run->present) return submit_piece(request, {part.block, part.sector, {run->sectors}});
  read_zeroes(request, {run->sectors});
  return Planned::more;
}

void DynamicImage::read_zeroes(ImageRequest& request, SectorCount count) noexcept {
  std::memset(request.data + request.sectors_planned * kSectorBytes, 0, count.n * kSectorBytes);
  request.sectors_planned += count.n;
}

DynamicImage::Planned DynamicImage::submit_piece(ImageRequest& request, const Part& part) noexcept {
  const auto piece = std::ranges::find(request.pieces, nullptr, &ImageRequest::Piece::request);
  if (piece == request.pieces.end()) return Planned::wait;
  piece->request = &request;
  piece->kind = request.op == ImageOp::read ? IoKind::read : IoKind::write;
  piece->file = file_.get();
  piece->offset = shape_.data_offset(map_.entry(part.block)) + part.sector.n * kSectorBytes;
  piece->buffer = request.data + request.sectors_planned * kSectorBytes;
  piece->bytes = part.count.n * kSectorBytes;
  piece->done = &piece_done;
  request.sectors_planned += part.count.n;
  ++request.in_flight;
  request.engine->submit(*piece);
  return Planned::more;
}

// A job may need the request's pieces, so it starts when all are back.
DynamicImage::Planned DynamicImage::want_block(ImageRequest& request, const Part& part,
                                               BlockNeed need) noexcept {
  if (request.in_flight > 0) return Planned::wait;
  const bool waits = jobs_.start(request, part.block, need, part.sector, part.count);
  return waits ? Planned::wait : Planned::more;
}

void DynamicImage::piece_done(IoOp& op) noexcept {
  auto& piece = static_cast<ImageRequest::Piece&>(op);
  auto& request = *std::exchange(piece.request, nullptr);
  if (op.kind == IoKind::read && op.result >= 0) zero_what_was_not_read(op);
  if (op.result < 0 && request.status == IoStatus::okay)
    request.status = status_from_result(op.result);
  assert(request.in_flight > 0);
  --request.in_flight;
  of(request).advance(request, Caller::engine);
}

void DynamicImage::resume(ImageRequest& request, IoStatus status) noexcept {
  assert(request.in_flight == 0 && request.status == IoStatus::okay);
  request.status = status;
  of(request).advance(request, Caller::engine);
}

}  // namespace xenblk::vhd
