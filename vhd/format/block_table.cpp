#include "vhd/format/block_table.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include <fmt/format.h>

namespace xenblk::vhd {
namespace {

bool is_inside(const ByteRange& range, const BlockTableLimits& limits) {
  if (range.start >= limits.end_of_blocks) return false;
  const auto room = limits.end_of_blocks - range.start;
  return room >= range.bytes - std::min(range.bytes, limits.last_block_cut_bytes);
}

Expected<void> check_entry(std::size_t block, std::uint32_t entry, const BlockTableLimits& limits) {
  const auto range = limits.shape.range(entry);
  for (const auto& other : limits.metadata) {
    if (!range.overlaps(other)) continue;
    return fail(Errc::bad_image,
                fmt::format("BAT entry {} is {:#x}: the block at {:#x} overlaps metadata at {:#x}",
                            block, entry, range.start, other.start));
  }
  if (is_inside(range, limits)) return {};
  return fail(
      Errc::bad_image,
      fmt::format("BAT entry {} is {:#x}: the block at {:#x} ends beyond the file's data at {:#x}",
                  block, entry, range.start, limits.end_of_blocks));
}

Expected<void> check_overlaps(std::vector<std::uint32_t>& used, const BlockShape& shape) {
  std::ranges::sort(used);
  const auto stride_sectors = shape.stride_bytes() / kSectorBytes;
  const auto too_near = [&](std::uint32_t a, std::uint32_t b) { return b - a < stride_sectors; };
  const auto found = std::ranges::adjacent_find(used, too_near);
  if (found == used.end()) return {};
  return fail(Errc::bad_image, fmt::format("BAT entries {:#x} and {:#x}: their blocks overlap",
                                           *found, *std::next(found)));
}

}  // namespace

std::vector<std::uint32_t> parse_block_table(std::span<const std::byte> bytes) {
  std::vector<std::uint32_t> entries(bytes.size() / sizeof(std::uint32_t));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i] = load_big_endian<std::uint32_t>(bytes, i * sizeof(std::uint32_t));
  }
  return entries;
}

void write_block_table(std::span<std::byte> bytes, std::span<const std::uint32_t> entries) {
  assert(entries.size() <= bytes.size() / sizeof(std::uint32_t));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    store_big_endian(bytes, i * sizeof(std::uint32_t), entries[i]);
  }
}

Expected<std::uint64_t> check_block_table(std::span<const std::uint32_t> entries,
                                          const BlockTableLimits& limits) {
  std::vector<std::uint32_t> used;
  for (std::size_t block = 0; block < entries.size(); ++block) {
    if (entries[block] == kUnusedBlock) continue;
    if (auto ok = check_entry(block, entries[block], limits); !ok)
      return std::unexpected(ok.error());
    used.push_back(entries[block]);
  }
  if (used.empty()) return 0;
  if (auto ok = check_overlaps(used, limits.shape); !ok) return std::unexpected(ok.error());
  return limits.shape.range(used.back()).end();
}

std::vector<BadEntry> find_bad_entries(std::span<const std::uint32_t> entries,
                                       const BlockTableLimits& limits) {
  std::vector<BadEntry> bad;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> used;
  for (std::uint64_t block = 0; block < entries.size(); ++block) {
    const auto entry = entries[block];
    if (entry == kUnusedBlock) continue;
    const auto range = limits.shape.range(entry);
    const auto overlaps = [&](const ByteRange& other) { return range.overlaps(other); };
    if (std::ranges::any_of(limits.metadata, overlaps)) {
      bad.push_back({block, entry, EntryFault::on_metadata});
    } else if (is_inside(range, limits)) {
      used.emplace_back(entry, block);
    } else {
      bad.push_back({block, entry, EntryFault::outside_file});
    }
  }
  std::ranges::sort(used);
  const auto stride_sectors = limits.shape.stride_bytes() / kSectorBytes;
  std::size_t kept = 0;
  for (std::size_t i = 1; i < used.size(); ++i) {
    const auto [entry, block] = used[i];
    if (entry - used[kept].first < stride_sectors) {
      bad.push_back({block, entry, EntryFault::overlaps, used[kept].second});
    } else {
      kept = i;
    }
  }
  std::ranges::sort(bad, {}, &BadEntry::block);
  return bad;
}

}  // namespace xenblk::vhd
