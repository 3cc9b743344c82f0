// Discard and write of zeroes. Whole blocks of a dynamic image go out of the table, and their place
// back to the host; all else becomes a hole where it is. What a parent holds must be covered: such
// sectors get a hole of their own, which counts like data that was written.
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

#include "vhd/dynamic_image.h"
#include "vhd/zeroes.h"

namespace xenblk::vhd {

DynamicImage::Planned DynamicImage::skip(ImageRequest& request, SectorCount count) noexcept {
  request.sectors_planned += count.n;
  return Planned::more;
}

DynamicImage::Planned DynamicImage::plan_zero(ImageRequest& request,
                                              const BlockPart& part) noexcept {
  const auto run = leaf_.look(part.block, part.sector, part.count);
  switch (run.presence) {
    case Presence::unknown:
      return want(request, {.level = &leaf_, .block = part.block});
    case Presence::absent:
      return plan_zero_below(request, part, run);
    case Presence::present:
      break;
  }
  const bool all = part.sector.n == 0 && part.count.n == leaf_.sectors_in_use(part.block);
  if (all && run.whole_block && chain_.levels().empty()) {
    return want(request, work_on(BlockNeed::gone, part));
  }
  return submit_piece(request, transfer_to(run, part));
}

// Nothing is to be done where all parents have zeroes: they never change. The first sectors that
// differ cover the rest of the part with them. After a write of metadata has failed, what memory
// does not have may still be in the file, and would come back after a crash: it is covered, too.
DynamicImage::Planned DynamicImage::plan_zero_below(ImageRequest& request, const BlockPart& part,
                                                    const BlockRun& run) noexcept {
  const auto source = chain_.find({request.first.n + request.sectors_planned}, run.count);
  const bool allocated = run.entry != kUnusedBlock;
  switch (source.kind) {
    case Source::Kind::zeroes:
      if (!jobs_.is_doubtful()) return skip(request, source.count);
      // A child keeps the place of a block whose table entry is in doubt.
      if (!allocated && !chain_.levels().empty()) return skip(request, source.count);
      if (!allocated) return want(request, work_on(BlockNeed::absent, part));
      break;
    case Source::Kind::unknown:
      return want(request, {.level = source.level, .block = source.block});
    case Source::Kind::file:
      break;
  }
  if (!allocated) return want(request, work_on(BlockNeed::place, part));
  auto transfer = transfer_to(run, part);
  transfer.count = part.count;
  return start_commit(request, transfer);
}

void DynamicImage::prepare(ImageRequest::Piece& piece, ImageRequest& request,
                           const Transfer& transfer, OpDone done) noexcept {
  piece.request = &request;
  piece.file = transfer.file;
  piece.offset = transfer.offset;
  piece.bytes = transfer.count.n * kSectorBytes;
  piece.done = done;
  if (request.op == ImageOp::read || request.op == ImageOp::write) {
    piece.kind = request.op == ImageOp::read ? IoKind::read : IoKind::write;
    piece.buffer = request.data + request.sectors_planned * kSectorBytes;
    return;
  }
  piece.kind = IoKind::punch_hole;
  piece.buffer = nullptr;
  piece.done = done == &piece_done ? &hole_made<&piece_done> : &hole_made<&commit_piece_done>;
}

// A file without holes cannot discard, which is no error of the guest; zeroes it can have.
template <DynamicImage::OpDone done>
void DynamicImage::hole_made(IoOp& op) noexcept {
  auto& piece = static_cast<ImageRequest::Piece&>(op);
  if (op.result != -EOPNOTSUPP || piece.request->op == ImageOp::discard) return done(op);
  piece.tag = op.offset + op.bytes;
  op.kind = IoKind::write;
  op.bytes = 0;
  op.result = 0;
  zeroes_written<done>(op);
}

template <DynamicImage::OpDone done>
void DynamicImage::zeroes_written(IoOp& op) noexcept {
  auto& piece = static_cast<ImageRequest::Piece&>(op);
  op.offset += op.bytes;
  if (op.result < 0 || op.offset == piece.tag) return done(op);
  op.buffer = shared_zeroes().data();
  op.bytes = std::min<std::uint64_t>(piece.tag - op.offset, shared_zeroes().size());
  op.done = &zeroes_written<done>;
  piece.request->engine->submit(op);
}

void DynamicImage::reclaim(ImageRequest& request, std::uint32_t entry) noexcept {
  of(request).reclaims_.begin(request, entry, &DynamicImage::reclaimed);
}

void DynamicImage::reclaimed(ImageRequest& request, IoStatus status) noexcept {
  scratch(request, Scratch::status) = static_cast<std::uint64_t>(status);
  of(request).jobs_.resume_now(request);
}

}  // namespace xenblk::vhd
