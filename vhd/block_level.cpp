#include "vhd/block_level.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {
namespace {

// No more than the blocks can use: those that are there, or all that will be.
std::uint64_t budget_for(const VhdLayout& layout, Access access, std::uint64_t budget_bytes) {
  const auto blocks = std::span(layout.entries).first(layout.block_count);
  const auto unused = static_cast<std::uint64_t>(std::ranges::count(blocks, kUnusedBlock));
  const bool grows = access == Access::read_write && layout.is_differencing();
  const auto lines = std::max<std::uint64_t>(4, grows ? blocks.size() : blocks.size() - unused);
  const auto bitmap_bytes = layout.shape.bitmap_bytes();
  return std::min(lines * bitmap_bytes, std::max(budget_bytes, 16 * bitmap_bytes));
}

}  // namespace

BlockLevel::BlockLevel(File& level_file, const VhdLayout& layout, std::uint64_t bitmap_budget_bytes)
    : file(level_file),
      shape(layout.shape),
      capacity(layout.capacity),
      map(layout.entries, layout.block_count),
      bitmaps(shape.bitmap_bytes(), budget_for(layout, file.access(), bitmap_budget_bytes)) {}

BlockRun BlockLevel::look_closer(std::uint32_t entry, BlockIndex block, SectorIndex sector,
                                 SectorCount count) {
  assert(count.n > 0 && sector.n + count.n <= shape.block_sectors());
  switch (map.state(block)) {
    case BlockState::full:
      return {Presence::present, entry, count};
    case BlockState::fresh:
      return {Presence::absent, entry, count};
    case BlockState::unknown:
      return {Presence::unknown, entry, count};
    case BlockState::partial:
      break;
  }
  const auto run = bitmaps.run(block, sector.n, count.n);
  if (!run) return {Presence::unknown, entry, count};
  const auto presence = run->present ? Presence::present : Presence::absent;
  return {presence, entry, {run->sectors}, false};
}

std::uint64_t BlockLevel::sectors_in_use(BlockIndex block) const {
  const std::uint64_t block_sectors = shape.block_sectors();
  return std::min(block_sectors, capacity.n - block.n * block_sectors);
}

bool BlockLevel::is_full(BlockIndex block, std::span<const std::byte> bits) const {
  const auto in_use = sectors_in_use(block);
  const auto run = bitmap_run(bits, 0, in_use);
  return run.present && run.sectors == in_use;
}

void BlockLevel::learn(BlockIndex block, std::span<const std::byte> bits) {
  if (is_full(block, bits)) return map.set_state(block, BlockState::full);
  bitmaps.insert(block, bits);
  map.set_state(block, BlockState::partial);
}

}  // namespace xenblk::vhd
