// Which bytes of the file a new block gets. A slot is a page-aligned data area with its bitmap
// right before it. In a file slots come from regions that are holes: a slot reads as zeroes until
// something is written to it, so the order in which its parts become durable does not matter. On a
// device every slot is dirty. Pure, no I/O;
// the owner locks.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vhd/block_map.h"
#include "vhd/format/block_table.h"

namespace xenblk::vhd {

struct Slot {
  std::uint32_t entry = 0;  // for the table
  ByteRange range;          // with the padding before the bitmap
  bool dirty = false;       // holds what a failed write left: to be emptied and synced before use
};

// The file grows by extents, so that its footer moves once for many blocks.
struct Extent {
  ByteRange slots;
  std::uint64_t footer_offset = 0;
};

struct SlotSpace {
  ByteRange free;  // ends where the footer begins, or before; a hole in a file; may be empty
  std::uint64_t footer_offset = 0;
  std::uint64_t extent_bytes = 0;  // by which a file grows at least
  bool on_device = false;          // which neither grows nor has holes
};

class SlotAllocator {
 public:
  SlotAllocator(const BlockShape& shape, const SlotSpace& space);

  // Nothing when there is no room below the footer.
  std::optional<Slot> take(BlockIndex block);

  // What comes behind the footer: for at most `blocks` more blocks. Nothing when the format's
  // 32-bit sector numbers end. The page that holds the old footer is left out for ever: as a bitmap
  // or as data it would not read as zeroes.
  std::optional<Extent> next_extent(std::uint64_t blocks) const;

  // The footer has been written and synced at its new place; the extent may be used.
  void add(const Extent& extent);

  // The slot was not used, but may have been written to, and the table in the file may say that the
  // block is there: it is kept for that one.
  void keep_for(BlockIndex block, Slot slot);
  // No table in the file refers to what was kept for the block.
  void release(BlockIndex block);

  // A block was there. `empty`: by now it is zeroes for good. Taken before any that is new.
  void reuse(std::uint32_t entry, bool empty);

  bool on_device() const { return space_.on_device; }
  std::uint64_t footer_offset() const { return space_.footer_offset; }

 private:
  struct Kept {
    BlockIndex block;
    Slot slot;
  };

  Slot slot_at(std::uint64_t start) const;
  std::optional<Slot> take_kept(BlockIndex block);
  void give_back(Slot slot);

  BlockShape shape_;
  std::uint64_t padding_bytes_;  // from a slot's start to its bitmap
  std::uint64_t slot_bytes_;
  SlotSpace space_;
  std::vector<Kept> kept_;
  std::vector<Slot> dirty_;
  std::vector<std::uint32_t> reusable_;  // entries
};

}  // namespace xenblk::vhd
