#include "vhd/operations/check.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "vhd/operations/check_bitmaps.h"
#include "vhd/operations/findings.h"
#include "vhd/read_vhd.h"

namespace xenblk::vhd {
namespace {

bool is_of_content(const Error& error) {
  return error.code == Errc::bad_image || error.code == Errc::unsupported_image;
}

FindingLevel level_of(std::string_view code) {
  if (code == "tap_version") return FindingLevel::info;
  const bool refused_by_others = code == "footer_end_bad" || code == "footer_copy_bad" ||
                                 code == "footer_other_image" || code == "last_block_cut";
  return refused_by_others ? FindingLevel::error : FindingLevel::warning;
}

void add_warnings(Findings& findings, const std::vector<Warning>& warnings) {
  for (const auto& warning : warnings) {
    findings.add(level_of(warning.code), warning.code, warning.text);
  }
}

std::string text_of(const BadEntry& bad, const VhdLayout& layout) {
  const auto range = layout.shape.range(bad.entry);
  const auto where =
      fmt::format("BAT entry {} is {:#x}: the block at {:#x}", bad.block, bad.entry, range.start);
  switch (bad.fault) {
    case EntryFault::outside_file:
      return fmt::format("{} ends beyond the file's data at {:#x}", where,
                         layout.footers.end_offset);
    case EntryFault::on_metadata:
      return where + " lies on metadata";
    case EntryFault::overlaps:
      return fmt::format("{} overlaps that of entry {}", where, bad.other_block);
  }
  return where;
}

std::string_view code_of(EntryFault fault) {
  switch (fault) {
    case EntryFault::outside_file:
      return "block_outside_file";
    case EntryFault::on_metadata:
      return "block_on_metadata";
    case EntryFault::overlaps:
      return "blocks_overlap";
  }
  return {};
}

void check_footer_fields(Findings& findings, const Footers& footers) {
  const auto& footer = footers.chosen;
  if (footer.features != 2 && footer.features != 3) {
    findings.add(FindingLevel::info, "features_odd",
                 fmt::format("footer: features are {:#x}, not 0x2", footer.features));
  }
  const SectorCount size{footer.current_bytes / kSectorBytes};
  if (footer.geometry != geometry_of(size) && footer.geometry != kGeometryMax) {
    findings.add(FindingLevel::info, "geometry_odd",
                 fmt::format("footer: the geometry {}/{}/{} is not that of {} bytes",
                             footer.geometry.cylinders, footer.geometry.heads,
                             footer.geometry.sectors_per_track, footer.current_bytes));
  }
}

// Space that nothing refers to, and a batmap or entries that nobody needs.
void check_space(Findings& findings, const VhdLayout& layout) {
  std::uint64_t used = 0;
  for (const auto& range : layout.metadata) used += range.bytes;
  const auto blocks = std::span(layout.entries).first(layout.block_count);
  const auto allocated =
      blocks.size() - static_cast<std::size_t>(std::ranges::count(blocks, kUnusedBlock));
  used += allocated * layout.shape.stride_bytes();
  const auto end = layout.footers.end_offset;
  if (used < end && end - used >= layout.shape.stride_bytes()) {
    findings.add(FindingLevel::info, "space_unused",
                 fmt::format("{} bytes of the file belong to no block", end - used));
  }
  for (auto block = layout.block_count; block < layout.entries.size(); ++block) {
    const bool within = block < layout.header.entries_max;
    const auto entry = layout.entries[block];
    if (!within || entry == kUnusedBlock || entry == 0) continue;
    findings.add(FindingLevel::info, "block_beyond_size",
                 fmt::format("BAT entry {} is {:#x}, but the disk has {} blocks", block, entry,
                             layout.block_count));
  }
}

void check_parent(Findings& findings, const VhdLayout& layout, const CheckOptions& options) {
  if (layout.footers.chosen.type != DiskType::differencing) return;
  if (layout.parents.candidates.empty()) {
    findings.add(FindingLevel::error, "parent_unnamed",
                 "header: neither a locator nor a name says where the parent is");
  }
  if (!options.find_parent) return;
  const auto uuid = options.find_parent(layout);
  if (!uuid) {
    findings.add(FindingLevel::error, "parent_missing", "parent: " + describe(uuid.error()));
  } else if (*uuid != layout.header.parent_uuid) {
    findings.add(FindingLevel::error, "parent_mismatch",
                 "header: the parent's unique id is not that of the image that was found");
  }
}

Expected<void> check_blocks(File& file, Findings& findings, const VhdLayout& layout,
                            const CheckOptions& options) {
  const auto bad = bad_entries_of(layout);
  for (const auto& entry : bad) {
    findings.add(FindingLevel::error, code_of(entry.fault), text_of(entry, layout));
  }
  check_space(findings, layout);
  if (!options.bitmaps) return {};
  return check_bitmaps(file, findings, layout, bad);
}

Expected<void> check_dynamic(File& file, Findings& findings, const Footers& footers,
                             const CheckOptions& options) {
  const auto layout = read_damaged_layout(file, footers);
  if (!layout && !is_of_content(layout.error())) return std::unexpected(layout.error());
  if (!layout) {
    findings.add(FindingLevel::error, "header_bad", layout.error().text);
    return {};
  }
  add_warnings(findings, layout->warnings);
  if (footers.at_end && !layout->footers.at_end) {
    findings.add(FindingLevel::error, "footer_end_bad",
                 fmt::format("a block covers the footer at {:#x}", footers.end_offset));
  } else if (footers.at_end && footers.copy_valid && footers.bytes != footers.at_end_bytes) {
    findings.add(FindingLevel::warning, "footers_differ",
                 fmt::format("the footers at 0x0 and {:#x} differ", footers.end_offset));
  }
  check_parent(findings, *layout, options);
  return check_blocks(file, findings, *layout, options);
}

}  // namespace

std::string_view name_of(FindingLevel level) {
  switch (level) {
    case FindingLevel::info:
      return "info";
    case FindingLevel::warning:
      return "warning";
    case FindingLevel::error:
      return "error";
  }
  return {};
}

Expected<VhdLayout> read_damaged_layout(File& file, const Footers& footers) {
  auto sound = read_vhd_layout(file, footers, Access::read_only);
  if (sound || !is_of_content(sound.error())) return sound;
  auto layout = read_vhd_structure(file, footers, Access::read_only);
  if (!layout || !footers.copy_valid || !footers.at_end) return layout;
  auto without_end = footers;
  without_end.at_end.reset();
  auto other = read_vhd_structure(file, std::move(without_end), Access::read_only);
  const bool better = other && bad_entries_of(*other).size() < bad_entries_of(*layout).size();
  return better ? other : layout;
}

bool CheckReport::has_errors() const {
  return std::ranges::find(findings, FindingLevel::error, &Finding::level) != findings.end();
}

std::string_view CheckReport::status() const {
  if (has_errors()) return "broken";
  const bool warned =
      std::ranges::find(findings, FindingLevel::warning, &Finding::level) != findings.end();
  return warned ? "warnings" : "good";
}

bool CheckReport::has(std::string_view code) const {
  return std::ranges::find(findings, code, &Finding::code) != findings.end();
}

std::vector<BadEntry> bad_entries_of(const VhdLayout& layout) {
  const auto blocks = std::span(layout.entries).first(layout.block_count);
  BlockTableLimits limits{layout.shape, layout.footers.end_offset, 0, layout.metadata};
  // Without a footer there the blocks may go to the file's end, and the last beyond it.
  if (layout.footers.copy_valid && !layout.footers.at_end) {
    limits.end_of_blocks = layout.footers.file_bytes;
    limits.last_block_cut_bytes = layout.shape.block_bytes;
  }
  return find_bad_entries(blocks, limits);
}

namespace {

Expected<CheckReport> look_for_all(File& file, const CheckOptions& options) {
  Findings findings;
  auto footers = read_footers(file);
  if (!footers && !is_of_content(footers.error())) return std::unexpected(footers.error());
  if (!footers) {
    findings.add(FindingLevel::error, "footer_bad", footers.error().text);
    return findings.take();
  }
  check_footer_fields(findings, *footers);
  if (footers->chosen.type == DiskType::fixed) {
    add_warnings(findings, footers->warnings);
    return findings.take();
  }
  auto checked = check_dynamic(file, findings, *footers, options);
  if (!checked) return std::unexpected(checked.error());
  return findings.take();
}

}  // namespace

// Whatever else opening has against the image is an error, too.
Expected<CheckReport> check_image(File& file, const CheckOptions& options) {
  auto report = look_for_all(file, options);
  if (!report || report->has_errors()) return report;
  const auto contents = read_vhd(file);
  if (contents) return report;
  if (!is_of_content(contents.error())) return std::unexpected(contents.error());
  report->findings.insert(report->findings.begin(),
                          {FindingLevel::error, "not_served", contents.error().text});
  return report;
}

}  // namespace xenblk::vhd
