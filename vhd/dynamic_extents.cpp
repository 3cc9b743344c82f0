// What of a dynamic image is stored, told without an engine.
#include <algorithm>
#include <cassert>

#include "vhd/aligned_buffer.h"
#include "vhd/dynamic_image.h"

namespace xenblk::vhd {

Expected<ImageExtent> DynamicImage::extent_at(SectorIndex first) {
  assert(first.n < info_.capacity.n);
  const auto block_sectors = shape_.block_sectors();
  const BlockIndex block{first.n / block_sectors};
  const auto sector = first.n % block_sectors;
  const auto left = info_.capacity.n - first.n;
  if (!map_.is_allocated(block)) {
    const auto sectors = unallocated_blocks_from(block) * block_sectors - sector;
    return ImageExtent{ImageExtent::Kind::zero, {std::min(sectors, left)}};
  }
  const SectorCount in_block{std::min(block_sectors - sector, left)};
  if (map_.state(block) == BlockState::full) return ImageExtent{.count = in_block};
  const auto run = read_bitmap_run({block, {sector}, in_block});
  if (!run) return std::unexpected(run.error());
  return ImageExtent{run->present ? ImageExtent::Kind::data : ImageExtent::Kind::zero,
                     {run->sectors}};
}

std::uint64_t DynamicImage::unallocated_blocks_from(BlockIndex block) const {
  std::uint64_t blocks = 0;
  while (block.n + blocks < map_.block_count() && !map_.is_allocated({block.n + blocks})) ++blocks;
  return blocks;
}

Expected<BitmapRun> DynamicImage::read_bitmap_run(const Part& part) const {
  const AlignedBuffer bits(shape_.bitmap_bytes());
  const auto offset = shape_.range(map_.entry(part.block)).start;
  if (auto ok = file_->read_at(offset, bits.all()); !ok) return std::unexpected(ok.error());
  return bitmap_run(bits.all(), part.sector.n, part.count.n);
}

}  // namespace xenblk::vhd
