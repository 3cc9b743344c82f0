// blktap's batmap between the file and the block map. While an image is open for writing, the
// batmap in the file says nothing, which is always right; it tells the truth again when the image
// is finished. Control path, blocking.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "vhd/block_map.h"
#include "vhd/format/batmap.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

// What the batmap knows, before the first request: those blocks need no bitmap.
void mark_full_blocks(const Batmap& batmap, BlockMap& map);

// The batmap of what is known now; a block whose bitmap was never read counts as not full.
std::vector<std::byte> full_blocks(const Batmap& batmap, const BlockMap& map);

// Writes the map and its header, and syncs. A crash between them leaves a checksum that is wrong.
Expected<void> store_batmap(File& file, const Batmap& batmap, std::span<const std::byte> bits);

}  // namespace xenblk::vhd
