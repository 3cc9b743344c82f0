#include "vhd/metadata_ranges.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "vhd/format/bytes.h"

namespace xenblk::vhd {
namespace {

constexpr std::string_view kCookie = "tdbatmap";
constexpr std::uint32_t kFirstVersionWithBatmap = 0x00010001;

// Nothing when the header describes no range within the file after the table.
std::optional<ByteRange> map_range(std::span<const std::byte> header, std::uint64_t header_end,
                                   std::uint64_t file_end) {
  const auto offset = load_big_endian<std::uint64_t>(header, 8);
  const auto bytes = std::uint64_t{load_big_endian<std::uint32_t>(header, 16)} * kSectorBytes;
  if (offset % kSectorBytes != 0 || offset < header_end || offset > file_end) return std::nullopt;
  if (bytes > file_end - offset) return std::nullopt;
  return ByteRange{offset, bytes};
}

Expected<ByteRange> free_space(const ParentLocator& locator, const VhdLayout& layout) {
  const auto space = locator_space(locator, layout.footers.end_offset);
  if (!space) return space;
  for (const auto& other : layout.metadata) {
    if (!space->overlaps(other)) continue;
    return fail(Errc::bad_image, fmt::format("{} bytes at {:#x} overlap metadata at {:#x}",
                                             space->bytes, space->start, other.start));
  }
  return space;
}

Expected<void> add_locator(File& file, VhdLayout& layout, std::size_t slot) {
  const auto& locator = layout.header.locators[slot];
  if (locator.code == kLocatorNone) return {};
  const auto space = free_space(locator, layout);
  if (!space) {
    layout.warnings.push_back(
        fmt::format("parent locator {}: {}; ignored", slot, space.error().text));
    return {};
  }
  LocatorData data{slot, locator.code, std::vector<std::byte>(locator.data_length)};
  if (auto ok = file.read_at(space->start, data.bytes); !ok) return ok;
  layout.metadata.push_back(*space);
  layout.locators.push_back(std::move(data));
  return {};
}

}  // namespace

Expected<void> add_batmap(File& file, VhdLayout& layout) {
  const auto& footer = layout.footers.chosen;
  if (footer.creator_name() != std::string_view("tap\0", 4)) return {};
  if (footer.creator_version < kFirstVersionWithBatmap) return {};
  const auto table_end = layout.metadata.back().end();
  const auto file_end = layout.footers.end_offset;
  if (file_end - table_end < kSectorBytes) return {};
  std::array<std::byte, kSectorBytes> header;
  if (auto ok = file.read_at(table_end, header); !ok) return ok;
  if (std::memcmp(header.data(), kCookie.data(), kCookie.size()) != 0) return {};
  const auto map = map_range(header, table_end + kSectorBytes, file_end);
  if (!map) {
    layout.warnings.push_back("batmap: not within the file; ignored");
    return {};
  }
  layout.metadata.push_back({table_end, kSectorBytes});
  layout.metadata.push_back(*map);
  return {};
}

Expected<void> add_locators(File& file, VhdLayout& layout) {
  if (layout.footers.chosen.type != DiskType::differencing) return {};
  for (std::size_t slot = 0; slot < layout.header.locators.size(); ++slot) {
    if (auto ok = add_locator(file, layout, slot); !ok) return ok;
  }
  layout.parents = parent_paths(layout.header, layout.locators);
  std::ranges::copy(layout.parents.warnings, std::back_inserter(layout.warnings));
  return {};
}

}  // namespace xenblk::vhd
