// One file with blocks as its reader sees it: where the blocks are and which of their sectors are
// there. A chain is a row of these. Borrows the file. Any thread; what changes a level is said
// where it is changed.
#pragma once

#include <cstdint>

#include "vhd/bitmap_cache.h"
#include "vhd/block_map.h"
#include "vhd/vhd_layout.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

enum class Presence : std::uint8_t {
  present,
  absent,
  unknown,  // the block's bitmap must be read first
};

// Sectors of one block that are alike.
struct BlockRun {
  Presence presence = Presence::absent;
  std::uint32_t entry = kUnusedBlock;  // where the block was when it was looked at
  SectorCount count;
  bool whole_block = true;  // known without a bitmap
};

struct BlockLevel {
  BlockLevel(File& level_file, const VhdLayout& layout, std::uint64_t bitmap_budget_bytes);

  // The run that begins at `sector` of the block, at most `count` long, which is within it.
  BlockRun look(BlockIndex block, SectorIndex sector, SectorCount count) {
    const auto entry = map.entry(block);
    if (entry == kUnusedBlock) return {Presence::absent, entry, count};
    if (map.state(block) == BlockState::full) return {Presence::present, entry, count};
    return look_closer(entry, block, sector, count);
  }

  // The sectors of the block that belong to the disk: the last one may reach beyond its end.
  std::uint64_t sectors_in_use(BlockIndex block) const;
  bool is_full(BlockIndex block, std::span<const std::byte> bits) const;
  // The bitmap was read: from now on it is known, as long as the cache keeps it.
  void learn(BlockIndex block, std::span<const std::byte> bits);

  // Of a block that was not full, the same.
  BlockRun look_closer(std::uint32_t entry, BlockIndex block, SectorIndex sector,
                       SectorCount count);

  File& file;
  const BlockShape shape;
  const SectorCount capacity;
  BlockMap map;
  BitmapCache bitmaps;
};

}  // namespace xenblk::vhd
