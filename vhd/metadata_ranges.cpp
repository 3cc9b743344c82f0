#include "vhd/metadata_ranges.h"

#include <array>
#include <cstring>
#include <string_view>

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

}  // namespace xenblk::vhd
