#include "vhd/batmap_file.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {

void mark_full_blocks(const Batmap& batmap, BlockMap& map) {
  for (std::uint64_t block = 0; block < map.block_count(); ++block) {
    if (!batmap.is_full(block)) continue;
    assert(map.is_allocated({block}));
    map.set_state({block}, BlockState::full);
  }
}

std::vector<std::byte> full_blocks(const Batmap& batmap, const BlockMap& map) {
  std::vector<std::byte> bits(batmap.map.bytes);
  const auto count = std::min(map.block_count(), std::uint64_t{bits.size()} * 8);
  for (std::uint64_t block = 0; block < count; ++block) {
    if (!map.is_allocated({block}) || map.state({block}) != BlockState::full) continue;
    bits[block / 8] |= std::byte{0x80} >> (block % 8);
  }
  return bits;
}

Expected<void> store_batmap(File& file, const Batmap& batmap, std::span<const std::byte> bits) {
  assert(bits.size() == batmap.map.bytes);
  if (auto ok = file.write_at(batmap.map.start, bits); !ok) return ok;
  if (auto ok = file.write_at(batmap.header.start, header_for_bits(batmap, bits)); !ok) return ok;
  return file.sync_data();
}

}  // namespace xenblk::vhd
