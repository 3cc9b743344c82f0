#include "vhd/slot_allocator.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {
namespace {

// Direct I/O that is not aligned to a page costs 3 to 4 times as much where a file has holes.
constexpr std::uint64_t kAlignmentBytes = kPageBytes;
// One sync moves the footer: a handful of blocks at least, however large they are.
constexpr std::uint64_t kExtentSlotsMin = 4;
// A sync stalls all new blocks, so a large file grows by more at once: by half, up to a limit.
// What of it no block needs is a hole, and is cut off when the image is closed.
constexpr std::uint64_t kFileInExtents = 2;
constexpr std::uint64_t kGrowthMax = 64;
// More than this at once means a disk that fails for good; then slots are wasted instead.
constexpr std::size_t kDirtySlotsMax = 256;
constexpr std::uint64_t kEndMax = std::uint64_t{kUnusedBlock} * kSectorBytes;

}  // namespace

SlotAllocator::SlotAllocator(const BlockShape& shape, const SlotSpace& space)
    : shape_(shape),
      padding_bytes_(round_up(shape.bitmap_bytes(), kAlignmentBytes) - shape.bitmap_bytes()),
      slot_bytes_(round_up(padding_bytes_ + shape.stride_bytes(), kAlignmentBytes)),
      space_(space) {
  assert(space.free.bytes == 0 || space.free.start % kAlignmentBytes == 0);
  assert(space.free.bytes == 0 || space.free.end() <= space.footer_offset);
  kept_.reserve(kDirtySlotsMax);
  dirty_.reserve(kDirtySlotsMax);
}

Slot SlotAllocator::slot_at(std::uint64_t start) const {
  assert(start % kAlignmentBytes == 0);
  const auto entry = (start + padding_bytes_) / kSectorBytes;
  assert(entry < kUnusedBlock);
  return {static_cast<std::uint32_t>(entry), {start, slot_bytes_}, space_.on_device};
}

std::optional<Slot> SlotAllocator::take(BlockIndex block) {
  if (const auto kept = take_kept(block)) return kept;
  if (!dirty_.empty()) {
    auto slot = dirty_.back();
    dirty_.pop_back();
    return slot;
  }
  if (!reusable_.empty()) {
    const auto entry = reusable_.back();
    reusable_.pop_back();
    return Slot{entry, shape_.range(entry), false};
  }
  auto& free = space_.free;
  if (free.bytes < slot_bytes_ || free.start > kEndMax - slot_bytes_) return std::nullopt;
  const auto slot = slot_at(free.start);
  free = {free.start + slot_bytes_, free.bytes - slot_bytes_};
  return slot;
}

std::optional<Extent> SlotAllocator::next_extent(std::uint64_t blocks) const {
  assert(blocks > 0);
  if (space_.on_device) return std::nullopt;
  const auto start = round_up(space_.footer_offset + kSectorBytes, kAlignmentBytes);
  if (start >= kEndMax) return std::nullopt;
  const auto room = (kEndMax - start) / slot_bytes_;
  const auto bytes = std::clamp(space_.footer_offset / kFileInExtents, space_.extent_bytes,
                                kGrowthMax * space_.extent_bytes);
  const auto wanted = std::max(kExtentSlotsMin, bytes / slot_bytes_);
  const auto slots = std::min({blocks, wanted, room});
  if (slots == 0) return std::nullopt;
  const ByteRange range{start, slots * slot_bytes_};
  return Extent{range, range.end()};
}

void SlotAllocator::add(const Extent& extent) {
  assert(extent.footer_offset > space_.footer_offset);
  space_.free = extent.slots;
  space_.footer_offset = extent.footer_offset;
}

// Without the padding before it, which may be another program's block.
void SlotAllocator::reuse(std::uint32_t entry, bool empty) {
  assert(entry < kUnusedBlock);
  if (!empty) return give_back({entry, shape_.range(entry), true});
  reusable_.push_back(entry);
}

void SlotAllocator::keep_for(BlockIndex block, Slot slot) {
  assert(std::ranges::find(kept_, block, &Kept::block) == kept_.end());
  if (kept_.size() == kDirtySlotsMax) return;
  slot.dirty = true;
  kept_.push_back({block, slot});
}

std::optional<Slot> SlotAllocator::take_kept(BlockIndex block) {
  const auto it = std::ranges::find(kept_, block, &Kept::block);
  if (it == kept_.end()) return std::nullopt;
  const auto slot = it->slot;
  kept_.erase(it);
  return slot;
}

void SlotAllocator::release(BlockIndex block) {
  if (const auto slot = take_kept(block)) give_back(*slot);
}

void SlotAllocator::give_back(Slot slot) {
  if (dirty_.size() == kDirtySlotsMax) return;
  slot.dirty = true;
  dirty_.push_back(slot);
}

}  // namespace xenblk::vhd
