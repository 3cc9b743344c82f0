// The 512-byte footer at the end of every VHD; dynamic images have a copy of it at the start. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vhd/format/geometry.h"
#include "xenblk/error.h"

namespace xenblk::vhd {

inline constexpr std::uint64_t kFooterBytes = 512;
inline constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};
inline constexpr std::uint32_t kVhdVersion = 0x00010000;

using FooterBytes = std::array<std::byte, kFooterBytes>;
using Uuid =
    std::array<std::byte, 16>;  // compared as it lies in the file: writers disagree on its order

// "Disk Type" of the specification. Other numbers exist in files and are kept until they are
// refused.
enum class DiskType : std::uint32_t { fixed = 2, dynamic = 3, differencing = 4 };

// Seconds since 2000-01-01 00:00:00 UTC, modulo 2^32.
struct VhdTime {
  std::uint32_t seconds = 0;
  friend bool operator==(const VhdTime&, const VhdTime&) = default;
};
constexpr VhdTime vhd_time(std::uint64_t unix_seconds) {
  return {static_cast<std::uint32_t>(unix_seconds - 946684800)};
}

struct Footer {
  std::uint32_t features = 2;  // the reserved bit that is always set
  std::uint32_t version = kVhdVersion;
  std::uint64_t data_offset = kNoOffset;
  VhdTime created;
  std::array<char, 4> creator = {};
  std::uint32_t creator_version = 0;
  std::uint32_t creator_host = 0;
  std::uint64_t original_bytes = 0;
  std::uint64_t current_bytes = 0;
  Geometry geometry;
  DiskType type = DiskType::fixed;
  Uuid uuid = {};
  bool saved_state = false;
  std::uint8_t hidden = 0;  // blktap's extension

  std::string_view creator_name() const { return {creator.data(), creator.size()}; }
  friend bool operator==(const Footer&, const Footer&) = default;
};

// Ignored only to save what can be read of a damaged image.
enum class ChecksumRule : std::uint8_t { verify, ignore };

// Checks cookie, checksum and version, nothing else. The error says what is wrong, not where.
// unsupported_image: blktap's mark of an interrupted resize ("v_poison").
Expected<Footer> parse_footer(std::span<const std::byte, kFooterBytes> bytes,
                              ChecksumRule checksum = ChecksumRule::verify);

FooterBytes write_footer(const Footer& footer);

// True when both describe one image; the sizes and flags may differ.
bool same_identity(const Footer& a, const Footer& b);

// The size that the guest sees. Virtual PC and older qemu mean the geometry, everyone else the
// current size (qemu 10, vpc_ignore_current_size). Not rounded, not checked.
std::uint64_t guest_bytes(const Footer& footer);

}  // namespace xenblk::vhd
