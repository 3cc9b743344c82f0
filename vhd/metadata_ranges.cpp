#include "vhd/metadata_ranges.h"

#include <string_view>

#include <fmt/format.h>

#include "vhd/format/bytes.h"

namespace xenblk::vhd {
namespace {

// The part of the map that counts, if it lies within the file after its header.
Expected<ByteRange> map_range(const BatmapHeader& header, const VhdLayout& layout,
                              std::uint64_t header_end) {
  const auto file_end = end_of_content(layout.footers);
  const auto offset = header.map_offset;
  const auto space = std::uint64_t{header.map_sectors} * kSectorBytes;
  const auto bytes = batmap_bytes(layout.capacity.n * kSectorBytes);
  if (offset % kSectorBytes != 0 || offset < header_end || offset > file_end ||
      space > file_end - offset) {
    return fail(Errc::bad_image,
                fmt::format("{} bytes at {:#x} are not within the file", space, offset));
  }
  if (bytes > space) {
    return fail(Errc::bad_image, fmt::format("{} bytes at {:#x} are too few for {} blocks", space,
                                             offset, layout.block_count));
  }
  return ByteRange{offset, bytes};
}

void drop_batmap(VhdLayout& layout, std::string_view why) {
  layout.warnings.push_back({"batmap_bad", fmt::format("batmap: {}; ignored", why)});
}

Expected<ByteRange> free_space(const ParentLocator& locator, const VhdLayout& layout) {
  const auto space = locator_space(locator, end_of_content(layout.footers));
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
        {"locator_bad", fmt::format("parent locator {}: {}; ignored", slot, space.error().text)});
    return {};
  }
  LocatorData data{slot, locator.code, std::vector<std::byte>(locator.data_length)};
  if (auto ok = file.read_at(space->start, data.bytes); !ok) return ok;
  layout.metadata.push_back(*space);
  layout.locators.push_back(std::move(data));
  return {};
}

}  // namespace

std::uint64_t end_of_content(const Footers& footers) {
  if (footers.at_end) return footers.end_offset;
  return footers.file_bytes - footers.file_bytes % kSectorBytes;
}

Expected<void> add_batmap(File& file, VhdLayout& layout) {
  if (!may_have_batmap(layout.footers.chosen)) return {};
  const auto start = layout.metadata.back().end();
  if (end_of_content(layout.footers) - start < kSectorBytes) return {};
  Batmap batmap{.header = {start, kSectorBytes}};
  if (auto ok = file.read_at(start, batmap.header_bytes); !ok) return ok;
  const auto header = parse_batmap_header(batmap.header_bytes);
  if (!header) {
    drop_batmap(layout, header.error().text);
    return {};
  }
  if (header->encrypted) {
    return fail(Errc::unsupported_image,
                fmt::format("batmap at {:#x}: the image is encrypted", start));
  }
  const auto map = map_range(*header, layout, batmap.header.end());
  if (!map) {
    drop_batmap(layout, map.error().text);
    return {};
  }
  batmap.map = *map;
  layout.metadata.push_back(batmap.header);
  layout.metadata.push_back({map->start, std::uint64_t{header->map_sectors} * kSectorBytes});
  layout.batmap = std::move(batmap);
  return {};
}

Expected<void> read_batmap(File& file, VhdLayout& layout) {
  if (!layout.batmap) return {};
  auto& batmap = *layout.batmap;
  batmap.bits.resize(batmap.map.bytes);
  if (auto ok = file.read_at(batmap.map.start, batmap.bits); !ok) return ok;
  auto checked =
      layout.shape.block_bytes == kBatmapBlockBytes
          ? check_batmap_bits(batmap, std::span(layout.entries).first(layout.block_count))
          : fail(Errc::bad_image,
                 fmt::format("of blocks of {} bytes, not 2 MiB", layout.shape.block_bytes));
  if (checked) return {};
  drop_batmap(layout, checked.error().text);
  batmap.bits.clear();
  return {};
}

Expected<void> add_locators(File& file, VhdLayout& layout) {
  if (layout.footers.chosen.type != DiskType::differencing) return {};
  for (std::size_t slot = 0; slot < layout.header.locators.size(); ++slot) {
    if (auto ok = add_locator(file, layout, slot); !ok) return ok;
  }
  layout.parents = parent_paths(layout.header, layout.locators);
  for (const auto& text : layout.parents.warnings) layout.warnings.push_back({"locator_bad", text});
  return {};
}

}  // namespace xenblk::vhd
