// What of an image with blocks is stored, and where in its chain: told without an engine.
#include <algorithm>
#include <cassert>

#include "vhd/aligned_buffer.h"
#include "vhd/dynamic_image.h"

namespace xenblk::vhd {
namespace {

Expected<AlignedBuffer> read_bitmap(const BlockLevel& level, BlockIndex block) {
  AlignedBuffer bits(level.shape.bitmap_bytes());
  const auto offset = level.shape.range(level.map.entry(block)).start;
  if (auto ok = level.file.read_at(offset, bits.all()); !ok) return std::unexpected(ok.error());
  return bits;
}

// In a parent that is not a VHD with blocks only the file system knows what is not stored.
Expected<ImageExtent> extent_in_file(const Source& source) {
  const auto level = static_cast<unsigned>(source.depth);
  const auto data = source.file->next_data(source.offset);
  if (!data) return std::unexpected(data.error());
  const auto zero_sectors = (*data - source.offset) / kSectorBytes;
  if (zero_sectors > 0) {
    return ImageExtent{ImageExtent::Kind::zero, {std::min(zero_sectors, source.count.n)}, level};
  }
  const auto hole = source.file->next_hole(source.offset);
  if (!hole) return std::unexpected(hole.error());
  const auto data_sectors =
      std::max<std::uint64_t>(1, divide_up(*hole - source.offset, kSectorBytes));
  return ImageExtent{ImageExtent::Kind::data, {std::min(data_sectors, source.count.n)}, level};
}

}  // namespace

Expected<ImageExtent> DynamicImage::extent_at(SectorIndex first) {
  assert(first.n < info_.capacity.n);
  const std::uint64_t block_sectors = leaf_.shape.block_sectors();
  const BlockIndex block{first.n / block_sectors};
  const SectorIndex sector{first.n % block_sectors};
  const auto left = info_.capacity.n - first.n;
  auto run = leaf_.look(block, sector, {std::min(block_sectors - sector.n, left)});
  if (run.presence == Presence::unknown) {
    // Not learnt, as a batch may be about to change it.
    const auto bits = read_bitmap(leaf_, block);
    if (!bits) return std::unexpected(bits.error());
    const auto here = bitmap_run(bits->all(), sector.n, run.count.n);
    run.presence = here.present ? Presence::present : Presence::absent;
    run.count = {here.sectors};
  }
  if (run.presence == Presence::present) return ImageExtent{.count = run.count};
  if (!chain_.levels().empty()) return extent_below(first, run.count);
  if (run.entry != kUnusedBlock) return ImageExtent{ImageExtent::Kind::zero, run.count};
  const auto sectors = unallocated_blocks_from(block) * block_sectors - sector.n;
  return ImageExtent{ImageExtent::Kind::zero, {std::min(sectors, left)}};
}

std::uint64_t DynamicImage::unallocated_blocks_from(BlockIndex block) const {
  std::uint64_t blocks = 0;
  const auto& map = leaf_.map;
  while (block.n + blocks < map.block_count() && !map.is_allocated({block.n + blocks})) ++blocks;
  return blocks;
}

// Parents do not change, so what is read of them is learnt.
Expected<ImageExtent> DynamicImage::extent_below(SectorIndex first, SectorCount count) {
  while (true) {
    const auto source = chain_.find(first, count);
    if (source.kind == Source::Kind::zeroes) {
      const auto last_level = static_cast<unsigned>(chain_.levels().size());
      return ImageExtent{ImageExtent::Kind::zero, source.count, last_level};
    }
    if (source.kind == Source::Kind::file) {
      if (chain_.levels()[source.depth - 1]->blocks() == nullptr) return extent_in_file(source);
      return ImageExtent{.count = source.count, .level = static_cast<unsigned>(source.depth)};
    }
    const auto bits = read_bitmap(*source.level, source.block);
    if (!bits) return std::unexpected(bits.error());
    source.level->learn(source.block, bits->all());
  }
}

}  // namespace xenblk::vhd
