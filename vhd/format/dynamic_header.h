// The 1024-byte header of dynamic and differencing images. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vhd/format/footer.h"
#include "xenblk/error.h"

namespace xenblk::vhd {

inline constexpr std::uint64_t kDynamicHeaderBytes = 1024;
using DynamicHeaderBytes = std::array<std::byte, kDynamicHeaderBytes>;

struct ParentLocator {
  std::uint32_t code = 0;  // 0: not used
  std::uint32_t data_space = 0;
  std::uint32_t data_length = 0;
  std::uint64_t data_offset = 0;
  friend bool operator==(const ParentLocator&, const ParentLocator&) = default;
};

struct DynamicHeader {
  std::uint64_t data_offset = kNoOffset;  // of a further header; nobody writes one
  std::uint64_t table_offset = 0;
  std::uint32_t version = kVhdVersion;
  std::uint32_t entries_max = 0;
  std::uint32_t block_bytes = 0;
  Uuid parent_uuid = {};
  VhdTime parent_changed;
  std::array<std::byte, 512> parent_name = {};  // UTF-16 big-endian
  std::array<ParentLocator, 8> locators;
  friend bool operator==(const DynamicHeader&, const DynamicHeader&) = default;
};

// Checks cookie, checksum and version, nothing else. The error says what is wrong, not where.
Expected<DynamicHeader> parse_dynamic_header(std::span<const std::byte, kDynamicHeaderBytes> bytes,
                                             ChecksumRule checksum = ChecksumRule::verify);

DynamicHeaderBytes write_dynamic_header(const DynamicHeader& header);

}  // namespace xenblk::vhd
