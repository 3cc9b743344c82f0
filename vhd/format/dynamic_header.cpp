#include "vhd/format/dynamic_header.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "vhd/format/bytes.h"
#include "vhd/format/checksum.h"

namespace xenblk::vhd {
namespace {

constexpr std::string_view kCookie = "cxsparse";
constexpr std::size_t kChecksumOffset = 36;
constexpr std::size_t kLocatorsOffset = 576;
constexpr std::size_t kLocatorBytes = 24;

ParentLocator load_locator(std::span<const std::byte> bytes) {
  return {.code = load_big_endian<std::uint32_t>(bytes, 0),
          .data_space = load_big_endian<std::uint32_t>(bytes, 4),
          .data_length = load_big_endian<std::uint32_t>(bytes, 8),
          .data_offset = load_big_endian<std::uint64_t>(bytes, 16)};
}

void store_locator(std::span<std::byte> bytes, const ParentLocator& locator) {
  store_big_endian(bytes, 0, locator.code);
  store_big_endian(bytes, 4, locator.data_space);
  store_big_endian(bytes, 8, locator.data_length);
  store_big_endian(bytes, 16, locator.data_offset);
}

template <class Bytes>
auto locator_bytes(Bytes bytes, std::size_t index) {
  return bytes.subspan(kLocatorsOffset + index * kLocatorBytes, kLocatorBytes);
}

DynamicHeader load(std::span<const std::byte> bytes) {
  DynamicHeader header;
  header.data_offset = load_big_endian<std::uint64_t>(bytes, 8);
  header.table_offset = load_big_endian<std::uint64_t>(bytes, 16);
  header.version = load_big_endian<std::uint32_t>(bytes, 24);
  header.entries_max = load_big_endian<std::uint32_t>(bytes, 28);
  header.block_bytes = load_big_endian<std::uint32_t>(bytes, 32);
  std::ranges::copy(bytes.subspan(40, header.parent_uuid.size()), header.parent_uuid.begin());
  header.parent_changed.seconds = load_big_endian<std::uint32_t>(bytes, 56);
  std::ranges::copy(bytes.subspan(64, header.parent_name.size()), header.parent_name.begin());
  for (std::size_t i = 0; i < header.locators.size(); ++i) {
    header.locators[i] = load_locator(locator_bytes(bytes, i));
  }
  return header;
}

}  // namespace

Expected<DynamicHeader> parse_dynamic_header(std::span<const std::byte, kDynamicHeaderBytes> bytes,
                                             ChecksumRule checksum) {
  if (std::memcmp(bytes.data(), kCookie.data(), kCookie.size()) != 0) {
    return fail(Errc::bad_image, "cookie is not 'cxsparse'");
  }
  const auto stored = load_big_endian<std::uint32_t>(bytes, kChecksumOffset);
  const auto computed = checksum_of(bytes, kChecksumOffset);
  if (checksum == ChecksumRule::verify && stored != computed) {
    return fail(Errc::bad_image, fmt::format("checksum is {:#x}, not {:#x}", stored, computed));
  }
  const auto header = load(bytes);
  if (header.version != kVhdVersion) {
    return fail(Errc::unsupported_image,
                fmt::format("version is {:#x}, not 0x10000", header.version));
  }
  return header;
}

DynamicHeaderBytes write_dynamic_header(const DynamicHeader& header) {
  DynamicHeaderBytes bytes = {};
  std::memcpy(bytes.data(), kCookie.data(), kCookie.size());
  store_big_endian(bytes, 8, header.data_offset);
  store_big_endian(bytes, 16, header.table_offset);
  store_big_endian(bytes, 24, header.version);
  store_big_endian(bytes, 28, header.entries_max);
  store_big_endian(bytes, 32, header.block_bytes);
  std::ranges::copy(header.parent_uuid, bytes.begin() + 40);
  store_big_endian(bytes, 56, header.parent_changed.seconds);
  std::ranges::copy(header.parent_name, bytes.begin() + 64);
  for (std::size_t i = 0; i < header.locators.size(); ++i) {
    store_locator(locator_bytes(std::span<std::byte>(bytes), i), header.locators[i]);
  }
  store_big_endian(bytes, kChecksumOffset, checksum_of(bytes, kChecksumOffset));
  return bytes;
}

}  // namespace xenblk::vhd
