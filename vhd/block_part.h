// The next sectors of a request that lie in one block. Pure.
#pragma once

#include <algorithm>

#include "vhd/block_map.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

struct BlockPart {
  BlockIndex block;
  SectorIndex sector;  // within the block
  SectorCount count;
};

inline BlockPart next_part(const ImageRequest& request, SectorCount block_sectors) {
  assert(request.sectors_planned < request.count.n);
  const auto first = request.first.n + request.sectors_planned;
  const auto sector = first % block_sectors.n;
  const auto left = request.count.n - request.sectors_planned;
  return {{first / block_sectors.n}, {sector}, {std::min(left, block_sectors.n - sector)}};
}

}  // namespace xenblk::vhd
