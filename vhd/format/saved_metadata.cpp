#include "vhd/format/saved_metadata.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "vhd/format/bytes.h"

namespace xenblk::vhd {
namespace {

// | 0 cookie | 8 version | 12 CRC of all bytes, itself as 0 | 16 uuid | 32 file's length |
// | 40 ranges | 44 zero | 48 (offset, length) of each range | then their bytes |
constexpr std::string_view kCookie = "xblkmeta";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kCrcOffset = 12;
constexpr std::size_t kRangesOffset = 48;
constexpr std::size_t kRangeBytes = 16;
constexpr std::uint32_t kRangesMax = 64;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table = {};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    auto value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = value >> 1 ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
    }
    table[i] = value;
  }
  return table;
}

// CRC-32 as Ethernet has it.
std::uint32_t crc_of(std::span<const std::byte> bytes) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = ~0U;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool own = i >= kCrcOffset && i < kCrcOffset + sizeof crc;
    const auto byte = own ? 0U : std::to_integer<std::uint32_t>(bytes[i]);
    crc = crc >> 8 ^ kTable[(crc ^ byte) & 0xff];
  }
  return ~crc;
}

std::unexpected<Error> bad(std::string text) {
  return fail(Errc::bad_image, std::move(text));
}

Expected<void> check_range(std::uint64_t offset, std::uint64_t bytes, std::uint64_t file_bytes) {
  const bool whole = bytes % kSectorBytes == 0 && bytes != 0;
  if (whole && offset <= file_bytes && bytes <= file_bytes - offset) return {};
  return bad(fmt::format("range of {} bytes at {:#x} is not within the file of {} bytes", bytes,
                         offset, file_bytes));
}

Expected<std::uint32_t> check_head(std::span<const std::byte> bytes) {
  if (bytes.size() < kRangesOffset || bytes.size() > kSavedMetadataBytesMax) {
    return bad(fmt::format("has {} bytes", bytes.size()));
  }
  if (std::memcmp(bytes.data(), kCookie.data(), kCookie.size()) != 0) {
    return bad("cookie is not 'xblkmeta'");
  }
  if (const auto version = load_big_endian<std::uint32_t>(bytes, 8); version != kVersion) {
    return bad(fmt::format("version is {}, not {}", version, kVersion));
  }
  const auto stored = load_big_endian<std::uint32_t>(bytes, kCrcOffset);
  if (const auto computed = crc_of(bytes); stored != computed) {
    return bad(fmt::format("CRC is {:#x}, not {:#x}", stored, computed));
  }
  const auto ranges = load_big_endian<std::uint32_t>(bytes, 40);
  if (ranges <= kRangesMax && bytes.size() - kRangesOffset >= ranges * kRangeBytes) return ranges;
  return bad(fmt::format("{} ranges in {} bytes", ranges, bytes.size()));
}

}  // namespace

std::vector<std::byte> encode(const SavedMetadata& saved) {
  assert(saved.ranges.size() <= kRangesMax);
  std::vector<std::byte> bytes(kRangesOffset + saved.ranges.size() * kRangeBytes);
  std::memcpy(bytes.data(), kCookie.data(), kCookie.size());
  store_big_endian(std::span(bytes), 8, kVersion);
  std::ranges::copy(saved.uuid, bytes.begin() + 16);
  store_big_endian(std::span(bytes), 32, saved.file_bytes);
  store_big_endian(std::span(bytes), 40, static_cast<std::uint32_t>(saved.ranges.size()));
  auto at = kRangesOffset;
  for (const auto& range : saved.ranges) {
    assert(check_range(range.offset, range.bytes.size(), saved.file_bytes));
    store_big_endian(std::span(bytes), at, range.offset);
    store_big_endian(std::span(bytes), at + 8, std::uint64_t{range.bytes.size()});
    at += kRangeBytes;
  }
  for (const auto& range : saved.ranges) {
    bytes.insert(bytes.end(), range.bytes.begin(), range.bytes.end());
  }
  assert(bytes.size() <= kSavedMetadataBytesMax);
  store_big_endian(std::span(bytes), kCrcOffset, crc_of(bytes));
  return bytes;
}

Expected<SavedMetadata> parse_saved_metadata(std::span<const std::byte> bytes) {
  const auto ranges = check_head(bytes);
  if (!ranges) return std::unexpected(ranges.error());
  SavedMetadata saved;
  std::ranges::copy(bytes.subspan(16, saved.uuid.size()), saved.uuid.begin());
  saved.file_bytes = load_big_endian<std::uint64_t>(bytes, 32);
  auto data = bytes.subspan(kRangesOffset + *ranges * kRangeBytes);
  for (std::uint32_t i = 0; i < *ranges; ++i) {
    const auto at = kRangesOffset + i * kRangeBytes;
    const auto offset = load_big_endian<std::uint64_t>(bytes, at);
    const auto length = load_big_endian<std::uint64_t>(bytes, at + 8);
    if (auto ok = check_range(offset, length, saved.file_bytes); !ok) {
      return std::unexpected(ok.error());
    }
    if (length > data.size()) {
      return bad(fmt::format("range of {} bytes at {:#x} is not there", length, offset));
    }
    const auto part = data.first(length);
    saved.ranges.push_back({offset, {part.begin(), part.end()}});
    data = data.subspan(length);
  }
  if (data.empty()) return saved;
  return bad(fmt::format("{} bytes too many", data.size()));
}

}  // namespace xenblk::vhd
