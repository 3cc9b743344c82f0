#include "vhd/operations/tail_data.h"

#include <algorithm>

#include <fmt/format.h>

#include "vhd/aligned_buffer.h"
#include "vhd/bitmap_cache.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint64_t kReadBytes = 256 * 1024;

std::unexpected<Error> would_lose(SectorCount capacity, std::uint64_t block) {
  return fail(Errc::refused, fmt::format("a disk of {} sectors would lose the data of block {}",
                                         capacity.n, block));
}

// Of the block that the disk's new end goes through: what is present beyond it must be zero.
Expected<void> check_last_block(File& file, const VhdLayout& layout, SectorCount capacity) {
  const auto sectors = layout.shape.block_sectors();
  const auto block = capacity.n / sectors;
  const auto entry = layout.entries[block];
  if (capacity.n % sectors == 0 || entry == kUnusedBlock) return {};
  const AlignedBuffer bits(layout.shape.bitmap_bytes());
  if (auto ok = file.read_at(layout.shape.range(entry).start, bits.all()); !ok) return ok;
  const auto data = layout.shape.data_offset(entry);
  for (auto sector = capacity.n % sectors; sector < sectors;) {
    const auto run = bitmap_run(bits.all(), sector, sectors - sector);
    if (run.present) {
      const auto found =
          find_data(file, {data + sector * kSectorBytes, run.sectors * kSectorBytes});
      if (!found) return std::unexpected(found.error());
      if (*found != kNoOffset) return would_lose(capacity, block);
    }
    sector += run.sectors;
  }
  return {};
}

}  // namespace

Expected<std::uint64_t> find_data(File& file, ByteRange range) {
  const AlignedBuffer buffer(kReadBytes);
  while (range.bytes > 0) {
    const auto data = file.next_data(range.start);
    if (!data) return data;
    if (*data >= range.end()) return kNoOffset;
    const auto start = *data - *data % kSectorBytes;
    const auto part = buffer.first(std::min(range.end() - start, kReadBytes));
    if (auto ok = file.read_at(start, part); !ok) return std::unexpected(ok.error());
    const auto found = std::ranges::find_if(part, [](std::byte b) { return b != std::byte{0}; });
    if (found != part.end()) {
      const auto at = static_cast<std::uint64_t>(found - part.begin());
      return start + at - at % kSectorBytes;
    }
    range = {start + part.size(), range.end() - start - part.size()};
  }
  return kNoOffset;
}

Expected<void> check_tail_is_empty(File& file, const VhdLayout& layout, SectorCount capacity) {
  if (capacity >= layout.capacity) return {};
  const auto kept = divide_up(capacity.n, layout.shape.block_sectors());
  for (auto block = kept; block < layout.block_count; ++block) {
    if (layout.entries[block] != kUnusedBlock) return would_lose(capacity, block);
  }
  return check_last_block(file, layout, capacity);
}

}  // namespace xenblk::vhd
