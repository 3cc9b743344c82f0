#include "vhd/format/batmap.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include <fmt/format.h>

#include "vhd/format/bytes.h"

namespace xenblk::vhd {
namespace {

constexpr std::string_view kCookie = "tdbatmap";
constexpr std::uint32_t kFirstTapVersion = 0x00010001;
constexpr std::uint32_t kSignedVersion = 0x00010001;
constexpr std::uint32_t kVersion = 0x00010002;
constexpr std::size_t kChecksumOffset = 24;
constexpr unsigned kDiskBytesPerMapByteShift = 24;  // 8 blocks of 2 MiB

}  // namespace

bool may_have_batmap(const Footer& footer) {
  return footer.creator_name() == std::string_view("tap\0", 4) &&
         footer.creator_version >= kFirstTapVersion;
}

Expected<BatmapHeader> parse_batmap_header(std::span<const std::byte, kSectorBytes> bytes) {
  if (std::memcmp(bytes.data(), kCookie.data(), kCookie.size()) != 0) {
    return fail(Errc::bad_image, "cookie is not 'tdbatmap'");
  }
  const BatmapHeader header{
      .map_offset = load_big_endian<std::uint64_t>(bytes, 8),
      .map_sectors = load_big_endian<std::uint32_t>(bytes, 16),
      .version = load_big_endian<std::uint32_t>(bytes, 20),
      .checksum = load_big_endian<std::uint32_t>(bytes, kChecksumOffset),
      .encrypted = bytes[29] != std::byte{0},
  };
  if (header.version == kSignedVersion || header.version == kVersion) return header;
  return fail(Errc::bad_image,
              fmt::format("version is {:#x}, not 0x10001 or 0x10002", header.version));
}

std::uint64_t batmap_bytes(std::uint64_t disk_bytes) {
  const auto bytes = std::max<std::uint64_t>(1, disk_bytes >> kDiskBytesPerMapByteShift);
  return round_up(bytes, kSectorBytes);
}

std::uint32_t batmap_checksum(std::span<const std::byte> map, std::uint32_t version) {
  std::uint32_t sum = 0;
  for (const auto byte : map) {
    const auto value = std::to_integer<std::uint32_t>(byte);
    const bool negative = version == kSignedVersion && value >= 0x80;
    sum += negative ? value - 0x100 : value;
  }
  return ~sum;
}

Expected<void> check_batmap_bits(const Batmap& batmap, std::span<const std::uint32_t> entries) {
  const auto header = parse_batmap_header(batmap.header_bytes);
  assert(header);
  const auto computed = batmap_checksum(batmap.bits, header->version);
  if (header->checksum != computed) {
    return fail(Errc::bad_image,
                fmt::format("checksum is {:#x}, not {:#x}", header->checksum, computed));
  }
  for (std::size_t block = 0; block < entries.size(); ++block) {
    if (entries[block] != kUnusedBlock || !batmap.is_full(block)) continue;
    return fail(Errc::bad_image,
                fmt::format("block {} is marked as full, but is not allocated", block));
  }
  return {};
}

BatmapHeaderBytes header_for_bits(const Batmap& batmap, std::span<const std::byte> bits) {
  auto bytes = batmap.header_bytes;
  const auto version = load_big_endian<std::uint32_t>(bytes, 20);
  store_big_endian(bytes, kChecksumOffset, batmap_checksum(bits, version));
  return bytes;
}

}  // namespace xenblk::vhd
