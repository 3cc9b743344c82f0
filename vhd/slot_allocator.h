// Which bytes of the file a new block gets. A slot is a page-aligned data area with its bitmap
// right before it. Slots come from regions that are holes: a slot reads as zeroes until something
// is written to it, so the order in which its parts become durable does not matter. Pure, no I/O;
// the owner locks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vhd/format/block_table.h"

namespace xenblk::vhd {

struct Slot {
  std::uint32_t entry = 0;  // for the table
  ByteRange range;          // with the padding before the bitmap
  bool dirty = false;       // holds what a failed write left: to be punched and synced before use
};

// The file grows by extents, so that its footer moves once for many blocks.
struct Extent {
  ByteRange slots;
  std::uint64_t footer_offset = 0;
};

class SlotAllocator {
 public:
  // `free` is a hole that ends where the footer begins; it may be empty.
  SlotAllocator(const BlockShape& shape, ByteRange free, std::uint64_t footer_offset,
                std::uint64_t extent_bytes);

  // Nothing when there is no room below the footer.
  std::optional<Slot> take();

  // What comes behind the footer: for at most `blocks` more blocks. Nothing when the format's
  // 32-bit sector numbers end. The page that holds the old footer is left out for ever: as a bitmap
  // or as data it would not read as zeroes.
  std::optional<Extent> next_extent(std::uint64_t blocks) const;

  // The footer has been written and synced at its new place; the extent may be used.
  void add(const Extent& extent);

  // The slot was not used, but may have been written to. No table in the file refers to it.
  void give_back(Slot slot);

  // A block was there; by now it is a hole for good. Taken before any other.
  void reuse(std::uint32_t entry);

  std::uint64_t footer_offset() const { return footer_offset_; }
  const std::vector<Slot>& dirty_slots() const { return dirty_; }

 private:
  Slot slot_at(std::uint64_t start) const;

  BlockShape shape_;
  std::uint64_t padding_bytes_;  // from a slot's start to its bitmap
  std::uint64_t slot_bytes_;
  std::uint64_t extent_bytes_;
  ByteRange free_;
  std::uint64_t footer_offset_;
  std::vector<Slot> dirty_;
  std::vector<std::uint32_t> reusable_;  // entries
};

}  // namespace xenblk::vhd
