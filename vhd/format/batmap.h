// blktap's batmap: one bit a block, set when all sectors of the block are there, so that its bitmap
// need not be read. It follows the table in images of blktap. Only a cache: a bit that is missing
// costs a read, a bit too many costs data. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vhd/format/block_table.h"
#include "vhd/format/footer.h"

namespace xenblk::vhd {

// blktap has no other blocks, and counts on it: of others no batmap is believed.
inline constexpr std::uint32_t kBatmapBlockBytes = 2U << 20;

using BatmapHeaderBytes = std::array<std::byte, kSectorBytes>;

struct BatmapHeader {
  std::uint64_t map_offset = 0;
  std::uint32_t map_sectors = 0;
  std::uint32_t version = 0;
  std::uint32_t checksum = 0;
  bool encrypted = false;  // the image's data is; the key's hash is beside the batmap
};

// Images that may have one: of blktap from 1.1 on.
bool may_have_batmap(const Footer& footer);

// Checks cookie and version, nothing else.
Expected<BatmapHeader> parse_batmap_header(std::span<const std::byte, kSectorBytes> bytes);

// As many bytes of the map as its checksum covers: blktap knows blocks of 2 MiB only.
std::uint64_t batmap_bytes(std::uint64_t disk_bytes);

// Version 1.1 added the bytes as signed numbers.
std::uint32_t batmap_checksum(std::span<const std::byte> map, std::uint32_t version);

// A batmap and where it is. Without bits: its place is known, its content is not believed.
struct Batmap {
  ByteRange header;
  ByteRange map;  // as much as the checksum covers; the file may keep more for it
  BatmapHeaderBytes header_bytes = {};
  std::vector<std::byte> bits;

  bool is_full(std::uint64_t block) const {
    if (block / 8 >= bits.size()) return false;
    return (bits[block / 8] & (std::byte{0x80} >> (block % 8))) != std::byte{0};
  }
};

// What contradicts the table or the checksum: nothing then is believed.
Expected<void> check_batmap_bits(const Batmap& batmap, std::span<const std::uint32_t> entries);

// The header for a new map; what else it says stays.
BatmapHeaderBytes header_for_bits(const Batmap& batmap, std::span<const std::byte> bits);

}  // namespace xenblk::vhd
