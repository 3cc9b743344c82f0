// The block allocation table (BAT) and where a block lies. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "vhd/format/bytes.h"
#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::vhd {

// An entry is the sector of the block's bitmap; the data follows it.
inline constexpr std::uint32_t kUnusedBlock = 0xffffffff;
inline constexpr std::uint32_t kEntriesPerSector = kSectorBytes / sizeof(std::uint32_t);

// The largest dynamic image that Windows opens.
inline constexpr std::uint64_t kDynamicBytesMax = std::uint64_t{2040} << 30;
// 64 MiB of memory for the table: enough for 2040 GiB in blocks of 128 KiB.
inline constexpr std::uint64_t kServedBlocksMax = std::uint64_t{1} << 24;

// A range of bytes of a file. Its end does not wrap: the maker has checked that.
struct ByteRange {
  std::uint64_t start = 0;
  std::uint64_t bytes = 0;
  std::uint64_t end() const { return start + bytes; }
  bool overlaps(const ByteRange& other) const {
    return start < other.end() && other.start < end() && bytes != 0 && other.bytes != 0;
  }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// How one block lies in the file.
struct BlockShape {
  std::uint32_t block_bytes = 0;  // a power of two

  std::uint32_t block_sectors() const { return block_bytes / kSectorBytes; }
  // One bit a sector, in whole sectors.
  std::uint64_t bitmap_bytes() const {
    return round_up(divide_up(block_sectors(), 8), kSectorBytes);
  }
  std::uint64_t stride_bytes() const { return bitmap_bytes() + block_bytes; }
  ByteRange range(std::uint32_t entry) const {
    return {std::uint64_t{entry} * kSectorBytes, stride_bytes()};
  }
  std::uint64_t data_offset(std::uint32_t entry) const {
    return std::uint64_t{entry} * kSectorBytes + bitmap_bytes();
  }
};

std::vector<std::uint32_t> parse_block_table(std::span<const std::byte> bytes);
void write_block_table(std::span<std::byte> bytes, std::span<const std::uint32_t> entries);

// What the entries must keep: they lie within the file, on none of `metadata`, and not on each
// other.
struct BlockTableLimits {
  BlockShape shape;
  std::uint64_t end_of_blocks = 0;  // no block reaches beyond this
  std::uint64_t last_block_cut_bytes =
      0;  // the last one may, by this much (a truncated file, read-only)
  std::span<const ByteRange> metadata;
};

// The end of the last block; 0 when no block is allocated.
Expected<std::uint64_t> check_block_table(std::span<const std::uint32_t> entries,
                                          const BlockTableLimits& limits);

// An entry that breaks one of these rules; of blocks that overlap, all but the first in the file.
enum class EntryFault : std::uint8_t { outside_file, on_metadata, overlaps };
struct BadEntry {
  std::uint64_t block = 0;
  std::uint32_t entry = 0;
  EntryFault fault = EntryFault::outside_file;
  std::uint64_t other_block = 0;  // overlaps: with whom
  friend bool operator==(const BadEntry&, const BadEntry&) = default;
};

// All of them, by block. For those who go on where check_block_table stops.
std::vector<BadEntry> find_bad_entries(std::span<const std::uint32_t> entries,
                                       const BlockTableLimits& limits);

}  // namespace xenblk::vhd
