#include "vhd/slot_reclaim.h"

#include <cassert>

namespace xenblk::vhd {
namespace {

// What the request remembers: tags of pieces that are not in flight. FlushGroup uses the first.
constexpr std::size_t kOwnerTag = 1;
constexpr std::size_t kEntryTag = 2;
constexpr std::size_t kThenTag = 3;

}  // namespace

SlotReclaim& SlotReclaim::of(ImageRequest& request) {
  return *reinterpret_cast<SlotReclaim*>(request.pieces[kOwnerTag].tag);
}

void SlotReclaim::begin(ImageRequest& request, std::uint32_t entry, Then then) noexcept {
  request.pieces[kOwnerTag].tag = reinterpret_cast<std::uintptr_t>(this);
  request.pieces[kEntryTag].tag = entry;
  request.pieces[kThenTag].tag = reinterpret_cast<std::uintptr_t>(then);
  context_.inside.leave(request);
  context_.inside.wait(request, [](ImageRequest& waited, IoStatus) noexcept {
    of(waited).context_.inside.enter(waited);
    of(waited).punch(waited);
  });
}

void SlotReclaim::punch(ImageRequest& request) noexcept {
  const auto entry = static_cast<std::uint32_t>(request.pieces[kEntryTag].tag);
  const auto range = context_.leaf.shape.range(entry);
  auto& piece = request.pieces[0];
  assert(piece.request == nullptr);
  piece.request = &request;
  piece.kind = IoKind::punch_hole;
  piece.file = &context_.leaf.file;
  piece.offset = range.start;
  piece.bytes = range.bytes;
  piece.done = [](IoOp& op) noexcept {
    auto& punched = *std::exchange(static_cast<ImageRequest::Piece&>(op).request, nullptr);
    auto& self = of(punched);
    if (op.result < 0) return self.finish(punched, false);
    self.context_.syncs.sync(punched, [](ImageRequest& synced, IoStatus status) noexcept {
      of(synced).finish(synced, status == IoStatus::okay);
    });
  };
  request.engine->submit(piece);
}

void SlotReclaim::finish(ImageRequest& request, bool emptied) noexcept {
  if (emptied) context_.jobs.reuse(static_cast<std::uint32_t>(request.pieces[kEntryTag].tag));
  const auto then = reinterpret_cast<Then>(request.pieces[kThenTag].tag);
  then(request, IoStatus::okay);
}

}  // namespace xenblk::vhd
