// The next sectors of a request that lie in one block. Pure.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>

#include "vhd/block_map.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

struct BlockPart {
  BlockIndex block;
  SectorIndex sector;  // within the block
  SectorCount count;
};

// Blocks have a power of two of sectors, so that no request has to divide.
inline BlockIndex block_at(SectorIndex sector, SectorCount block_sectors) {
  assert(std::has_single_bit(block_sectors.n));
  return {sector.n >> std::countr_zero(block_sectors.n)};
}
inline SectorIndex sector_in_block(SectorIndex sector, SectorCount block_sectors) {
  return {sector.n & (block_sectors.n - 1)};
}

inline BlockPart next_part(const ImageRequest& request, SectorCount block_sectors) {
  assert(request.sectors_planned < request.count.n);
  const SectorIndex first{request.first.n + request.sectors_planned};
  const auto sector = sector_in_block(first, block_sectors);
  const auto left = request.count.n - request.sectors_planned;
  return {block_at(first, block_sectors), sector, {std::min(left, block_sectors.n - sector.n)}};
}

}  // namespace xenblk::vhd
