#include "vhd/operations/resize_plan.h"

#include <algorithm>

#include "vhd/create.h"
#include "vhd/format/checksum.h"

namespace xenblk::vhd {
namespace {

ByteRange table_range(const DynamicHeader& header) {
  return {header.table_offset,
          round_up(std::uint64_t{header.entries_max} * sizeof(std::uint32_t), kSectorBytes)};
}

// As far as the table could reach without meeting a block or other metadata.
std::uint64_t room_for_table(const VhdLayout& layout) {
  const auto table = table_range(layout.header);
  auto next = layout.footers.end_offset;
  const auto consider = [&](std::uint64_t start) {
    if (start >= table.end()) next = std::min(next, start);
  };
  for (const auto& range : layout.metadata) consider(range.start);
  for (const auto entry : std::span(layout.entries).first(layout.block_count)) {
    if (entry != kUnusedBlock) consider(layout.shape.range(entry).start);
  }
  return next - table.start;
}

// A batmap lies right behind the end of the table, wherever that is.
bool fits_in_place(const VhdLayout& layout, std::uint64_t table_bytes, std::uint64_t map_bytes) {
  if (table_bytes <= table_range(layout.header).bytes) {
    if (!layout.batmap) return true;
    return map_bytes <=
           std::uint64_t{parse_batmap_header(layout.batmap->header_bytes)->map_sectors} *
               kSectorBytes;
  }
  return !layout.batmap && table_bytes <= room_for_table(layout);
}

void place_batmap(Batmap& batmap, std::uint64_t header_offset, std::uint64_t map_bytes) {
  batmap.header = {header_offset, kSectorBytes};
  batmap.map = {batmap.header.end(), map_bytes};
  batmap.bits.clear();
  store_big_endian(std::span<std::byte>(batmap.header_bytes), 8, batmap.map.start);
  store_big_endian(std::span<std::byte>(batmap.header_bytes), 16,
                   static_cast<std::uint32_t>(map_bytes / kSectorBytes));
}

}  // namespace

Expected<ResizePlan> plan_resize(const VhdLayout& layout, SectorCount capacity) {
  if (auto ok = check_dynamic_size(capacity, layout.shape.block_bytes); !ok) {
    return std::unexpected(ok.error());
  }
  ResizePlan plan{.block_count = divide_up(capacity.n, layout.shape.block_sectors()),
                  .footer_offset = layout.footers.end_offset,
                  .header = layout.header,
                  .batmap = layout.batmap};
  plan.header.entries_max =
      std::max(layout.header.entries_max, static_cast<std::uint32_t>(plan.block_count));
  const auto table_bytes = table_range(plan.header).bytes;
  const auto map_bytes = batmap_bytes(capacity.n * kSectorBytes);
  if (plan.block_count > layout.block_count) {
    const auto old_end = layout.block_count * sizeof(std::uint32_t);
    plan.new_entries = {old_end, plan.block_count * sizeof(std::uint32_t) - old_end};
  }
  if (fits_in_place(layout, table_bytes, map_bytes)) {
    if (plan.batmap) plan.batmap->map.bytes = map_bytes;
    return plan;
  }
  plan.moves_table = true;
  plan.header.table_offset = round_up(layout.end_of_data, kPageBytes);
  auto end = plan.header.table_offset + table_bytes;
  if (plan.batmap) {
    place_batmap(*plan.batmap, end, map_bytes);
    end = plan.batmap->map.end();
  }
  // Never where the old footer is: it counts until the new one is on stable storage.
  plan.footer_offset = std::max(end, layout.footers.end_offset + kFooterBytes);
  return plan;
}

FooterBytes resized_footer(const FooterBytes& footer, SectorCount capacity) {
  auto bytes = footer;
  const auto geometry = geometry_for(capacity);
  store_big_endian(std::span<std::byte>(bytes), 48, capacity.n * kSectorBytes);
  store_big_endian(std::span<std::byte>(bytes), 56, geometry.cylinders);
  store_big_endian(std::span<std::byte>(bytes), 58, geometry.heads);
  store_big_endian(std::span<std::byte>(bytes), 59, geometry.sectors_per_track);
  store_big_endian(std::span<std::byte>(bytes), 64, checksum_of(bytes, 64));
  return bytes;
}

}  // namespace xenblk::vhd
