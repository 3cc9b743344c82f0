#include "vhd/operations/check_bitmaps.h"

#include <algorithm>

#include "vhd/aligned_buffer.h"
#include "vhd/bitmap_cache.h"
#include "vhd/operations/tail_data.h"

namespace xenblk::vhd {
namespace {

class BitmapCheck {
 public:
  BitmapCheck(File& file, Findings& findings, const VhdLayout& layout)
      : file_(file), findings_(findings), layout_(layout), bits_(layout.shape.bitmap_bytes()) {}

  Expected<void> check(std::uint64_t block) {
    const auto range = layout_.shape.range(layout_.entries[block]);
    // What the file ends before is as good as zeroes, and was told of already.
    if (range.end() > layout_.footers.end_offset) return {};
    if (auto ok = file_.read_at(range.start, bits_.all()); !ok) return ok;
    const auto sectors = sectors_of_block(block);
    const bool full = bitmap_run(bits_.all(), 0, sectors).present &&
                      bitmap_run(bits_.all(), 0, sectors).sectors == sectors;
    if (layout_.batmap && layout_.batmap->is_full(block) && !full) {
      findings_.add(
          FindingLevel::error, "batmap_stale",
          fmt::format("batmap: block {} is marked as full, but its bitmap at {:#x} is not", block,
                      range.start));
    }
    if (full || layout_.footers.chosen.type != DiskType::dynamic) return {};
    return check_clear_sectors(block, sectors);
  }

 private:
  // The last block may reach beyond the disk; those bits mean nothing.
  std::uint64_t sectors_of_block(std::uint64_t block) const {
    const auto first = block * layout_.shape.block_sectors();
    return std::min<std::uint64_t>(layout_.shape.block_sectors(), layout_.capacity.n - first);
  }

  Expected<void> check_clear_sectors(std::uint64_t block, std::uint64_t sectors) {
    const auto data = layout_.shape.data_offset(layout_.entries[block]);
    for (std::uint64_t sector = 0; sector < sectors;) {
      const auto run = bitmap_run(bits_.all(), sector, sectors - sector);
      if (!run.present) {
        const auto found =
            find_data(file_, {data + sector * kSectorBytes, run.sectors * kSectorBytes});
        if (!found) return std::unexpected(found.error());
        if (*found != kNoOffset) {
          findings_.add(
              FindingLevel::warning, "data_under_clear_bits",
              fmt::format("block {}: data at {:#x}, where the bitmap says none", block, *found));
          return {};
        }
      }
      sector += run.sectors;
    }
    return {};
  }

  File& file_;
  Findings& findings_;
  const VhdLayout& layout_;
  AlignedBuffer bits_;
};

}  // namespace

Expected<void> check_bitmaps(File& file, Findings& findings, const VhdLayout& layout,
                             std::span<const BadEntry> bad) {
  BitmapCheck check(file, findings, layout);
  auto next_bad = bad.begin();
  for (std::uint64_t block = 0; block < layout.block_count; ++block) {
    const bool is_bad = next_bad != bad.end() && next_bad->block == block;
    if (is_bad) ++next_bad;
    if (is_bad || layout.entries[block] == kUnusedBlock) continue;
    if (auto ok = check.check(block); !ok) return ok;
  }
  return {};
}

}  // namespace xenblk::vhd
