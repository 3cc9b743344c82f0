#include "vhd/vhd_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "vhd/aligned_buffer.h"
#include "vhd/metadata_ranges.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint32_t kBlockBytesMin = 512;
constexpr std::uint32_t kBlockBytesMax = 256U << 20;
// With smaller blocks a bitmap and its data share a page, and allocation cannot keep them apart.
constexpr std::uint32_t kWritableBlockBytesMin = 4096;
constexpr std::uint32_t kEntriesMax = 0x3fffffff;

std::unexpected<Error> bad(std::string text) {
  return fail(Errc::bad_image, std::move(text));
}

Expected<void> read_header(File& file, VhdLayout& layout) {
  const auto offset = layout.footers.chosen.data_offset;
  const auto end = end_of_content(layout.footers);
  const bool inside =
      offset >= kFooterBytes && offset <= end && kDynamicHeaderBytes <= end - offset;
  if (offset % kSectorBytes != 0 || !inside) {
    return bad(
        fmt::format("footer: the header's offset {:#x} is not a sector within the file", offset));
  }
  DynamicHeaderBytes bytes;
  if (auto ok = file.read_at(offset, bytes); !ok) return ok;
  auto header = parse_dynamic_header(bytes, layout.footers.checksums);
  if (!header) {
    return fail(header.error().code,
                fmt::format("header at {:#x}: {}", offset, header.error().text));
  }
  layout.header = *header;
  return {};
}

Expected<void> check_block_bytes(VhdLayout& layout, Access access) {
  const auto bytes = layout.header.block_bytes;
  if (!std::has_single_bit(bytes) || bytes < kBlockBytesMin || bytes > kBlockBytesMax) {
    return bad(
        fmt::format("header: block size {} is not a power of two from 512 to 256 MiB", bytes));
  }
  if (access == Access::read_write && bytes < kWritableBlockBytesMin) {
    return fail(
        Errc::unsupported_image,
        fmt::format("header: block size {} is served read-only (writable from 4096)", bytes));
  }
  layout.shape.block_bytes = bytes;
  return {};
}

// The larger of two current sizes is no danger here: whether the table covers it is checked for
// each.
Expected<void> check_capacity(VhdLayout& layout) {
  const auto bytes = guest_bytes(layout.footers.at_end.value_or(layout.footers.chosen));
  if (bytes < kSectorBytes) return bad("footer: the disk's size is 0");
  if (bytes > kDynamicBytesMax) {
    return bad(fmt::format("footer: size {} is more than the 2040 GiB of a dynamic disk", bytes));
  }
  if (bytes % kSectorBytes != 0) {
    layout.warnings.push_back(
        {"size_odd", fmt::format("footer: size {} is no multiple of 512; rounded down", bytes)});
  }
  layout.capacity = {bytes / kSectorBytes};
  layout.block_count = divide_up(layout.capacity.n, layout.shape.block_sectors());
  const auto entries = layout.header.entries_max;
  if (entries > kEntriesMax)
    return bad(fmt::format("header: {} BAT entries are too many", entries));
  if (layout.block_count > entries) {
    return bad(fmt::format("header: {} BAT entries of {} bytes are too few for a size of {}",
                           entries, layout.shape.block_bytes, bytes));
  }
  if (layout.block_count > kServedBlocksMax) {
    return fail(Errc::unsupported_image,
                fmt::format("header: {} blocks are more than the {} that are served",
                            layout.block_count, kServedBlocksMax));
  }
  return {};
}

Expected<void> check_table(VhdLayout& layout) {
  const auto offset = layout.header.table_offset;
  const auto bytes = round_up(std::uint64_t{layout.header.entries_max} * 4, kSectorBytes);
  const auto end = end_of_content(layout.footers);
  if (offset % kSectorBytes != 0 || offset > end || bytes > end - offset) {
    return bad(fmt::format("header: the BAT of {} entries at {:#x} is not within the file",
                           layout.header.entries_max, offset));
  }
  const ByteRange table{offset, bytes};
  for (const auto& other : layout.metadata) {
    if (!table.overlaps(other)) continue;
    return bad(
        fmt::format("header: the BAT at {:#x} overlaps metadata at {:#x}", offset, other.start));
  }
  layout.metadata.push_back(table);
  return {};
}

Expected<void> read_table(File& file, VhdLayout& layout) {
  const AlignedBuffer bytes(round_up(layout.block_count * 4, kSectorBytes));
  if (auto ok = file.read_at(layout.header.table_offset, bytes.all()); !ok) return ok;
  layout.entries = parse_block_table(bytes.all());
  return {};
}

// A footer at the end counts only if no block reaches over it: those bytes would be the guest's.
Expected<std::uint64_t> check_blocks(VhdLayout& layout, Access access) {
  const auto used = std::span(layout.entries).first(layout.block_count);
  BlockTableLimits limits{layout.shape, layout.footers.end_offset, 0, layout.metadata};
  auto end = check_block_table(used, limits);
  layout.footer_at_end_valid = end && layout.footers.at_end;
  if (end || !layout.footers.copy_valid) return end;
  limits.end_of_blocks = layout.footers.file_bytes;
  if (auto without_footer = check_block_table(used, limits); without_footer) return without_footer;
  limits.last_block_cut_bytes = layout.shape.block_bytes;
  auto cut = check_block_table(used, limits);
  if (!cut) return cut;
  layout.last_block_cut = true;
  layout.warnings.push_back(
      {"last_block_cut",
       fmt::format("the file of {} bytes ends within its last block", layout.footers.file_bytes)});
  if (access == Access::read_only) return cut;
  end.error().text += "; can be read, but needs repair before it is written";
  return end;
}

Expected<void> check_writable(const VhdLayout& layout) {
  if (layout.footers.checksums == ChecksumRule::ignore) {
    return fail(Errc::unsupported_image, "an image whose checksums are ignored is read-only");
  }
  if (layout.header.data_offset != kNoOffset && layout.header.data_offset != 0xffffffff) {
    return fail(Errc::unsupported_image,
                fmt::format("header: a further header at {:#x} is served read-only",
                            layout.header.data_offset));
  }
  if (layout.footers.other_image_at_end && layout.end_of_data <= layout.footers.end_offset) {
    return bad(fmt::format("the footers at 0x0 and {:#x} are of different images",
                           layout.footers.end_offset));
  }
  return {};
}

}  // namespace

Expected<VhdLayout> read_vhd_structure(File& file, Footers footers, Access access) {
  VhdLayout layout{.footers = std::move(footers)};
  layout.warnings = layout.footers.warnings;
  if (auto ok = read_header(file, layout); !ok) return std::unexpected(ok.error());
  if (auto ok = check_block_bytes(layout, access); !ok) return std::unexpected(ok.error());
  if (auto ok = check_capacity(layout); !ok) return std::unexpected(ok.error());
  layout.metadata = {{0, kFooterBytes}, {layout.footers.chosen.data_offset, kDynamicHeaderBytes}};
  if (auto ok = check_table(layout); !ok) return std::unexpected(ok.error());
  if (auto ok = add_batmap(file, layout); !ok) return std::unexpected(ok.error());
  if (auto ok = add_locators(file, layout); !ok) return std::unexpected(ok.error());
  if (auto ok = read_table(file, layout); !ok) return std::unexpected(ok.error());
  if (auto ok = read_batmap(file, layout); !ok) return std::unexpected(ok.error());
  for (const auto& range : layout.metadata) {
    layout.end_of_metadata = std::max(layout.end_of_metadata, range.end());
  }
  return layout;
}

Expected<VhdLayout> read_vhd_layout(File& file, Footers footers, Access access) {
  auto layout = read_vhd_structure(file, std::move(footers), access);
  if (!layout) return layout;
  const auto end_of_blocks = check_blocks(*layout, access);
  if (!end_of_blocks) return std::unexpected(end_of_blocks.error());
  if (layout->footers.at_end && !layout->footer_at_end_valid) {
    // A block covers it. Once more without it, since the size may have come from those bytes.
    layout->footers.at_end.reset();
    return read_vhd_layout(file, std::move(layout->footers), access);
  }
  layout->end_of_data = std::max(*end_of_blocks, layout->end_of_metadata);
  if (access == Access::read_write) {
    if (auto ok = check_writable(*layout); !ok) return std::unexpected(ok.error());
  }
  return layout;
}

}  // namespace xenblk::vhd
