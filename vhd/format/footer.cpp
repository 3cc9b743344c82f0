#include "vhd/format/footer.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "vhd/format/bytes.h"
#include "vhd/format/checksum.h"

namespace xenblk::vhd {
namespace {

constexpr std::string_view kCookie = "conectix";
constexpr std::string_view kPoison = "v_poison";
constexpr std::size_t kChecksumOffset = 64;
constexpr std::size_t kHiddenOffset = 85;
constexpr std::uint32_t kFirstTapThatCountsHidden = 0x00010002;

bool has_cookie(std::span<const std::byte> bytes, std::string_view cookie) {
  return std::memcmp(bytes.data(), cookie.data(), cookie.size()) == 0;
}

Footer load(std::span<const std::byte> bytes) {
  Footer footer;
  footer.features = load_big_endian<std::uint32_t>(bytes, 8);
  footer.version = load_big_endian<std::uint32_t>(bytes, 12);
  footer.data_offset = load_big_endian<std::uint64_t>(bytes, 16);
  footer.created.seconds = load_big_endian<std::uint32_t>(bytes, 24);
  std::memcpy(footer.creator.data(), bytes.data() + 28, footer.creator.size());
  footer.creator_version = load_big_endian<std::uint32_t>(bytes, 32);
  footer.creator_host = load_big_endian<std::uint32_t>(bytes, 36);
  footer.original_bytes = load_big_endian<std::uint64_t>(bytes, 40);
  footer.current_bytes = load_big_endian<std::uint64_t>(bytes, 48);
  footer.geometry = {load_big_endian<std::uint16_t>(bytes, 56),
                     load_big_endian<std::uint8_t>(bytes, 58),
                     load_big_endian<std::uint8_t>(bytes, 59)};
  footer.type = static_cast<DiskType>(load_big_endian<std::uint32_t>(bytes, 60));
  std::ranges::copy(bytes.subspan(68, footer.uuid.size()), footer.uuid.begin());
  footer.saved_state = bytes[84] != std::byte{0};
  footer.hidden = load_big_endian<std::uint8_t>(bytes, kHiddenOffset);
  return footer;
}

// blktap before 1.2 set the hidden byte and left the checksum as it was.
bool checksum_fits(std::span<const std::byte, kFooterBytes> bytes, const Footer& footer) {
  const auto stored = load_big_endian<std::uint32_t>(bytes, kChecksumOffset);
  const auto computed = checksum_of(bytes, kChecksumOffset);
  const bool old_blktap = footer.creator_name() == std::string_view("tap\0", 4) &&
                          footer.creator_version < kFirstTapThatCountsHidden;
  return stored == computed || (old_blktap && stored == computed + footer.hidden);
}

}  // namespace

Expected<Footer> parse_footer(std::span<const std::byte, kFooterBytes> bytes,
                              ChecksumRule checksum) {
  if (has_cookie(bytes, kPoison)) {
    return fail(Errc::unsupported_image,
                "cookie is 'v_poison': a resize was interrupted (repair it with vhd-util revert)");
  }
  if (!has_cookie(bytes, kCookie)) return fail(Errc::bad_image, "cookie is not 'conectix'");
  const auto footer = load(bytes);
  if (checksum == ChecksumRule::verify && !checksum_fits(bytes, footer)) {
    return fail(Errc::bad_image, fmt::format("checksum is {:#x}, not {:#x}",
                                             load_big_endian<std::uint32_t>(bytes, kChecksumOffset),
                                             checksum_of(bytes, kChecksumOffset)));
  }
  if (footer.version != kVhdVersion) {
    return fail(Errc::unsupported_image,
                fmt::format("version is {:#x}, not 0x10000", footer.version));
  }
  return footer;
}

FooterBytes write_footer(const Footer& footer) {
  FooterBytes bytes = {};
  std::memcpy(bytes.data(), kCookie.data(), kCookie.size());
  store_big_endian(bytes, 8, footer.features);
  store_big_endian(bytes, 12, footer.version);
  store_big_endian(bytes, 16, footer.data_offset);
  store_big_endian(bytes, 24, footer.created.seconds);
  std::memcpy(bytes.data() + 28, footer.creator.data(), footer.creator.size());
  store_big_endian(bytes, 32, footer.creator_version);
  store_big_endian(bytes, 36, footer.creator_host);
  store_big_endian(bytes, 40, footer.original_bytes);
  store_big_endian(bytes, 48, footer.current_bytes);
  store_big_endian(bytes, 56, footer.geometry.cylinders);
  store_big_endian(bytes, 58, footer.geometry.heads);
  store_big_endian(bytes, 59, footer.geometry.sectors_per_track);
  store_big_endian(bytes, 60, static_cast<std::uint32_t>(footer.type));
  std::ranges::copy(footer.uuid, bytes.begin() + 68);
  bytes[84] = std::byte{footer.saved_state};
  bytes[kHiddenOffset] = std::byte{footer.hidden};
  store_big_endian(bytes, kChecksumOffset, checksum_of(bytes, kChecksumOffset));
  return bytes;
}

bool same_identity(const Footer& a, const Footer& b) {
  return a.uuid == b.uuid && a.type == b.type && a.data_offset == b.data_offset;
}

std::uint64_t guest_bytes(const Footer& footer) {
  const auto creator = footer.creator_name();
  const bool means_geometry = creator == "vpc " || creator == "qemu";
  const auto sectors = sectors_of(footer.geometry);
  const bool tells = sectors.n != 0 && footer.geometry != kGeometryMax;
  return means_geometry && tells ? sectors.n * kSectorBytes : footer.current_bytes;
}

}  // namespace xenblk::vhd
