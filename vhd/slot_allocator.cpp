#include "vhd/slot_allocator.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {
namespace {

// Direct I/O that is not aligned to a page costs 3 to 4 times as much where a file has holes.
constexpr std::uint64_t kAlignmentBytes = kPageBytes;
// One sync moves the footer: a handful of blocks at least, however large they are.
constexpr std::uint64_t kExtentSlotsMin = 4;
// More than this at once means a disk that fails for good; then slots are wasted instead.
constexpr std::size_t kDirtySlotsMax = 256;
constexpr std::uint64_t kEndMax = std::uint64_t{kUnusedBlock} * kSectorBytes;

}  // namespace

SlotAllocator::SlotAllocator(const BlockShape& shape, ByteRange free, std::uint64_t footer_offset,
                             std::uint64_t extent_bytes)
    : shape_(shape),
      padding_bytes_(round_up(shape.bitmap_bytes(), kAlignmentBytes) - shape.bitmap_bytes()),
      slot_bytes_(round_up(padding_bytes_ + shape.stride_bytes(), kAlignmentBytes)),
      extent_bytes_(extent_bytes),
      free_(free),
      footer_offset_(footer_offset) {
  assert(free.bytes == 0 || free.start % kAlignmentBytes == 0);
  assert(free.bytes == 0 || free.end() <= footer_offset);
  dirty_.reserve(kDirtySlotsMax);
}

Slot SlotAllocator::slot_at(std::uint64_t start) const {
  assert(start % kAlignmentBytes == 0);
  const auto entry = (start + padding_bytes_) / kSectorBytes;
  assert(entry < kUnusedBlock);
  return {static_cast<std::uint32_t>(entry), {start, slot_bytes_}, false};
}

std::optional<Slot> SlotAllocator::take() {
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
  if (free_.bytes < slot_bytes_ || free_.start > kEndMax - slot_bytes_) return std::nullopt;
  const auto slot = slot_at(free_.start);
  free_ = {free_.start + slot_bytes_, free_.bytes - slot_bytes_};
  return slot;
}

std::optional<Extent> SlotAllocator::next_extent(std::uint64_t blocks) const {
  assert(blocks > 0);
  const auto start = round_up(footer_offset_ + kSectorBytes, kAlignmentBytes);
  if (start >= kEndMax) return std::nullopt;
  const auto room = (kEndMax - start) / slot_bytes_;
  const auto wanted = std::max(kExtentSlotsMin, extent_bytes_ / slot_bytes_);
  const auto slots = std::min({blocks, wanted, room});
  if (slots == 0) return std::nullopt;
  const ByteRange range{start, slots * slot_bytes_};
  return Extent{range, range.end()};
}

void SlotAllocator::add(const Extent& extent) {
  assert(extent.footer_offset > footer_offset_);
  free_ = extent.slots;
  footer_offset_ = extent.footer_offset;
}

// Without the padding before it, which may be another program's block.
void SlotAllocator::reuse(std::uint32_t entry) {
  assert(entry < kUnusedBlock);
  reusable_.push_back(entry);
}

void SlotAllocator::give_back(Slot slot) {
  if (dirty_.size() == kDirtySlotsMax) return;
  slot.dirty = true;
  dirty_.push_back(slot);
}

}  // namespace xenblk::vhd
