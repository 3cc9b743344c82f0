#include "vhd/dynamic_image.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "vhd/batmap_file.h"
#include "vhd/request.h"
#include "vhd/zeroes.h"

namespace xenblk::vhd {
namespace {

std::uint64_t bitmap_bytes_max(const BlockLevel& leaf, const Levels& parents) {
  auto most = leaf.shape.bitmap_bytes();
  for (const auto& parent : parents) {
    if (auto* blocks = parent->blocks()) most = std::max(most, blocks->shape.bitmap_bytes());
  }
  return most;
}

IoStatus status_of(const IoOp& op) {
  const bool no_holes = op.kind == IoKind::punch_hole && op.result == -EOPNOTSUPP;
  return no_holes ? IoStatus::unsupported : status_from_result(op.result);
}

}  // namespace

DynamicImage::DynamicImage(Parts parts)
    : file_(std::move(parts.file)),
      info_{.format = parts.layout.is_differencing() ? "vhd differencing" : "vhd dynamic",
            .capacity = parts.layout.capacity,
            .physical_sector_bytes = parts.physical_sector_bytes,
            .access = file_->access(),
            .discard = file_->access() == Access::read_write,
            .cached = file_->alignment_bytes() < kSectorBytes},
      leaf_(*file_, parts.layout, parts.tuning.bitmap_budget_bytes),
      chain_(std::move(parts.parents), {{leaf_.shape.block_sectors()}, info_.capacity}),
      flushes_(*file_),
      jobs_({.leaf = leaf_,
             .differencing = parts.layout.is_differencing(),
             .table_offset = parts.layout.header.table_offset,
             .end_of_metadata = parts.layout.end_of_metadata,
             .bitmap_bytes_max = bitmap_bytes_max(leaf_, chain_.levels()),
             .syncs = flushes_},
            &DynamicImage::resume),
      commits_({leaf_, jobs_, flushes_, parts.layout.header.table_offset},
               &DynamicImage::committed),
      reclaims_({leaf_, jobs_, flushes_, inside_}) {
  shared_zeroes();  // makes them before the first request
  jobs_.allow_removing(&DynamicImage::reclaim);
  const auto& end = parts.end;
  assert(end.has_value() == (info_.access == Access::read_write));
  if (parts.layout.batmap) mark_full_blocks(*parts.layout.batmap, leaf_.map);
  if (!end) return;
  batmap_ = parts.layout.batmap;
  jobs_.allow_writing({leaf_.shape,
                       {.free = end->free,
                        .footer_offset = end->footer_offset,
                        .extent_bytes = parts.tuning.extent_bytes,
                        .on_device = end->on_device}},
                      end->footer);
}

Expected<void> DynamicImage::finish() {
  auto finished = jobs_.finish();
  if (!finished || !batmap_) return finished;
  return store_batmap(*file_, *batmap_, full_blocks(*batmap_, leaf_.map));
}

DynamicImage& DynamicImage::of(ImageRequest& request) {
  return scratch_object<DynamicImage>(request, Scratch::image);
}

void DynamicImage::submit(ImageRequest& request) noexcept {
  begin(request);
  const auto refused = refusal(request, info_);
  if (refused != IoStatus::okay) return answer_later(request, refused);
  scratch(request, Scratch::image) = reinterpret_cast<std::uintptr_t>(this);
  switch (request.op) {
    case ImageOp::read:
    case ImageOp::write:
    case ImageOp::discard:
    case ImageOp::write_zeroes:
      if (info_.access == Access::read_write) inside_.enter(request);
      return advance(request, Caller::submit);
    case ImageOp::flush:
      // A write was answered after its bitmap and its table entry were written: a sync covers them.
      if (info_.access == Access::read_only) return answer_later(request, IoStatus::okay);
      return flushes_.submit(request);
  }
}

// Plans as far as pieces and blocks allow. Whoever brings one back calls this again; once nothing
// is left to plan and nothing is in flight the request is answered, and that happens once.
void DynamicImage::advance(ImageRequest& request, Caller caller) noexcept {
  while (request.status == IoStatus::okay && request.sectors_planned < request.count.n) {
    if (plan_next(request) == Planned::wait) return;
  }
  if (request.in_flight == 0) finish_request(request, caller);
}

void DynamicImage::finish_request(ImageRequest& request, Caller caller) noexcept {
  if (info_.access == Access::read_write) inside_.leave(request);
  if (caller == Caller::submit) return answer_later(request, request.status);
  answer(request, request.status);
}

BlockPart DynamicImage::part_of(const ImageRequest& request) const {
  return next_part(request, {leaf_.shape.block_sectors()});
}

BlockWork DynamicImage::work_on(BlockNeed need, const BlockPart& part) {
  return {need, &leaf_, part.block, part.sector, part.count};
}

DynamicImage::Transfer DynamicImage::transfer_to(const BlockRun& run, const BlockPart& part) const {
  return {file_.get(),
          leaf_.shape.data_offset(run.entry) + part.sector.n * kSectorBytes,
          {std::min(run.count.n, part.count.n)}};
}

DynamicImage::Planned DynamicImage::plan_next(ImageRequest& request) noexcept {
  const auto part = part_of(request);
  switch (request.op) {
    case ImageOp::read:
      return plan_read(request, part);
    case ImageOp::write:
      return plan_write(request, part);
    case ImageOp::discard:
    case ImageOp::write_zeroes:
    case ImageOp::flush:
      break;
  }
  assert(request.op != ImageOp::flush);
  return plan_zero(request, part);
}

DynamicImage::Planned DynamicImage::plan_read(ImageRequest& request,
                                              const BlockPart& part) noexcept {
  const auto run = leaf_.look(part.block, part.sector, part.count);
  switch (run.presence) {
    case Presence::present:
      return submit_piece(request, transfer_to(run, part));
    case Presence::absent:
      return plan_read_below(request, run.count);
    case Presence::unknown:
      break;
  }
  return want(request, {.level = &leaf_, .block = part.block});
}

DynamicImage::Planned DynamicImage::plan_read_below(ImageRequest& request,
                                                    SectorCount count) noexcept {
  const auto source = chain_.find({request.first.n + request.sectors_planned}, count);
  switch (source.kind) {
    case Source::Kind::zeroes:
      read_zeroes(request, source.count);
      return Planned::more;
    case Source::Kind::file:
      return submit_piece(request, {source.file, source.offset, source.count});
    case Source::Kind::unknown:
      break;
  }
  return want(request, {.level = source.level, .block = source.block});
}

DynamicImage::Planned DynamicImage::plan_write(ImageRequest& request,
                                               const BlockPart& part) noexcept {
  const auto run = leaf_.look(part.block, part.sector, part.count);
  if (run.entry == kUnusedBlock) {
    return want(request, work_on(BlockNeed::place, part));
  }
  if (run.presence == Presence::unknown) {
    return want(request, {.level = &leaf_, .block = part.block});
  }
  auto transfer = transfer_to(run, part);
  if (run.presence == Presence::present && run.count == part.count) {
    return submit_piece(request, transfer);
  }
  transfer.count = part.count;
  return start_commit(request, transfer);
}

void DynamicImage::read_zeroes(ImageRequest& request, SectorCount count) noexcept {
  std::memset(request.data + request.sectors_planned * kSectorBytes, 0, count.n * kSectorBytes);
  request.sectors_planned += count.n;
}

DynamicImage::Planned DynamicImage::submit_piece(ImageRequest& request,
                                                 const Transfer& transfer) noexcept {
  const auto piece = std::ranges::find(request.pieces, nullptr, &ImageRequest::Piece::request);
  if (piece == request.pieces.end()) return Planned::wait;
  prepare(*piece, request, transfer, &piece_done);
  request.sectors_planned += transfer.count.n;
  ++request.in_flight;
  request.engine->submit(*piece);
  return Planned::more;
}

void DynamicImage::piece_done(IoOp& op) noexcept {
  auto& piece = static_cast<ImageRequest::Piece&>(op);
  auto& request = *std::exchange(piece.request, nullptr);
  if (op.kind == IoKind::read && op.result >= 0) zero_what_was_not_read(op);
  if (request.status == IoStatus::okay) request.status = status_of(op);
  assert(request.in_flight > 0);
  --request.in_flight;
  of(request).advance(request, Caller::engine);
}

// The sectors count once they are committed; only then the request plans its next ones.
DynamicImage::Planned DynamicImage::start_commit(ImageRequest& request,
                                                 const Transfer& transfer) noexcept {
  if (request.in_flight > 0) return Planned::wait;
  auto& piece = request.pieces[0];
  prepare(piece, request, transfer, &commit_piece_done);
  request.engine->submit(piece);
  return Planned::wait;
}

void DynamicImage::commit_piece_done(IoOp& op) noexcept {
  auto& piece = static_cast<ImageRequest::Piece&>(op);
  auto& request = *std::exchange(piece.request, nullptr);
  if (op.result < 0) return committed(request, status_of(op));
  of(request).commits_.join(request);
}

void DynamicImage::committed(ImageRequest& request, IoStatus status) noexcept {
  auto& image = of(request);
  if (status == IoStatus::okay) request.sectors_planned += image.part_of(request).count.n;
  request.status = status;
  image.advance(request, Caller::engine);
}

// A job may need the request's pieces, so it starts when all are back.
DynamicImage::Planned DynamicImage::want(ImageRequest& request, const BlockWork& work) noexcept {
  if (request.in_flight > 0) return Planned::wait;
  return jobs_.start(request, work) ? Planned::wait : Planned::more;
}

void DynamicImage::resume(ImageRequest& request, IoStatus status) noexcept {
  assert(request.in_flight == 0 && request.status == IoStatus::okay);
  request.status = status;
  of(request).advance(request, Caller::engine);
}

}  // namespace xenblk::vhd
