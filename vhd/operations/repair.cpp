#include "vhd/operations/repair.h"

#include <algorithm>

#include <fmt/format.h>

#include "vhd/aligned_buffer.h"
#include "vhd/batmap_file.h"
#include "vhd/bitmap_cache.h"
#include "vhd/create.h"
#include "vhd/format/checksum.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/prepare_for_writing.h"

namespace xenblk::vhd {
namespace {

constexpr std::size_t kFooterChecksum = 64;
constexpr std::size_t kFooterUuid = 68;
constexpr std::size_t kHeaderChecksum = 36;
constexpr std::uint64_t kOtherRangeBytesMax = 256 * 1024;

template <class Bytes>
void seal(Bytes& bytes, std::size_t checksum_offset) {
  store_big_endian(std::span<std::byte>(bytes), checksum_offset,
                   checksum_of(bytes, checksum_offset));
}

// One repair: looks, saves what is there, and changes it, in an order in which each step leaves an
// image that is no worse than before.
class Repair {
 public:
  Repair(File& file, MetadataStore& backup) : file_(file), backup_(backup) {}

  Expected<RepairReport> run() {
    auto footers = read_footers(file_);
    if (!footers && footers.error().code != Errc::bad_image) return failed(footers.error());
    if (!footers) footers = read_footers(file_, ChecksumRule::ignore);
    if (!footers) return failed(footers.error());
    auto done = footers->chosen.type == DiskType::fixed ? repair_fixed(*footers)
                                                        : repair_dynamic(std::move(*footers));
    if (!done) return failed(done.error());
    return std::move(report_);
  }

 private:
  static std::unexpected<Error> failed(const Error& error) { return std::unexpected(error); }

  Expected<void> repair_fixed(const Footers& footers) {
    auto bytes = footers.bytes;
    if (footers.chosen.uuid == Uuid{}) {
      if (auto ok = give_uuid(bytes); !ok) return ok;
    }
    seal(bytes, kFooterChecksum);
    const bool short_footer = footers.file_bytes - footers.end_offset != kFooterBytes;
    if (bytes == footers.bytes && !short_footer) return {};
    report_.done.push_back(fmt::format("footer at {:#x} rewritten", footers.end_offset));
    if (auto ok = save(footers, {{footers.end_offset, kFooterBytes}}); !ok) return ok;
    if (auto ok = file_.write_at(footers.end_offset, bytes); !ok) return ok;
    return file_.sync_data();
  }

  Expected<void> repair_dynamic(Footers footers) {
    auto layout = read_damaged_layout(file_, footers);
    if (!layout && layout.error().code == Errc::bad_image) {
      // The header has no second copy: its checksum may be the only thing that is wrong.
      footers.checksums = ChecksumRule::ignore;
      layout = read_damaged_layout(file_, footers);
    }
    if (!layout) return failed(layout.error());
    report_.quarantined = bad_entries_of(*layout);
    if (is_sound(*layout)) return {};
    if (auto ok = save_all(*layout); !ok) return ok;
    if (auto ok = fix_checksums(*layout); !ok) return ok;
    if (auto ok = quarantine(*layout); !ok) return ok;
    if (auto ok = fix_uuid(*layout); !ok) return ok;
    return settle();
  }

  // What opening for writing, and other programs, have nothing to say against.
  bool is_sound(const VhdLayout& layout) {
    const auto& footers = layout.footers;
    if (!report_.quarantined.empty() || footers.checksums == ChecksumRule::ignore) return false;
    if (!footers.copy_valid || !footers.at_end || footers.bytes != footers.at_end_bytes)
      return false;
    if (footers.end_offset + kFooterBytes != footers.file_bytes) return false;
    if (footers.chosen.uuid == Uuid{}) return false;
    if (!may_use_batmap(layout)) return true;
    const auto bits = true_batmap(layout);
    return bits && !layout.batmap->bits.empty() && no_bit_too_many(*layout.batmap, *bits);
  }

  // Of other blocks nobody believes it.
  static bool may_use_batmap(const VhdLayout& layout) {
    return layout.batmap && layout.shape.block_bytes == kBatmapBlockBytes;
  }

  static bool no_bit_too_many(const Batmap& batmap, std::span<const std::byte> truth) {
    for (std::size_t i = 0; i < truth.size(); ++i) {
      if ((batmap.bits[i] & ~truth[i]) != std::byte{0}) return false;
    }
    return true;
  }

  // What is not whole in the file is not saved: a footer without its last byte.
  Expected<void> save(const Footers& footers, const std::vector<ByteRange>& ranges) {
    SavedMetadata saved{footers.chosen.uuid, footers.file_bytes, {}};
    for (const auto& range : ranges) {
      if (range.bytes == 0 || range.end() > saved.file_bytes) continue;
      std::vector<std::byte> bytes(range.bytes);
      if (auto ok = file_.read_at(range.start, bytes); !ok) return ok;
      saved.ranges.push_back({range.start, std::move(bytes)});
    }
    return backup_.save(encode(saved));
  }

  Expected<void> save_all(const VhdLayout& layout) {
    auto ranges = layout.metadata;
    // Each may be said to be far larger than what it is used for.
    const auto used = round_up(layout.block_count * 4, kSectorBytes);
    for (auto& range : ranges) {
      const bool table = range.start == layout.header.table_offset;
      range.bytes = std::min(range.bytes, table ? used : kOtherRangeBytesMax);
    }
    ranges.push_back({layout.footers.end_offset, kFooterBytes});
    return save(layout.footers, ranges);
  }

  Expected<void> fix_checksums(const VhdLayout& layout) {
    if (layout.footers.checksums != ChecksumRule::ignore) return {};
    const auto offset = layout.footers.chosen.data_offset;
    DynamicHeaderBytes header;
    if (auto ok = file_.read_at(offset, header); !ok) return ok;
    if (!parse_dynamic_header(header)) {
      seal(header, kHeaderChecksum);
      if (auto ok = file_.write_at(offset, header); !ok) return ok;
      report_.done.push_back(fmt::format("header at {:#x}: checksum corrected", offset));
    }
    auto footer = layout.footers.bytes;
    if (!parse_footer(footer)) {
      seal(footer, kFooterChecksum);
      const auto at = layout.footers.copy_valid ? 0 : layout.footers.end_offset;
      if (auto ok = file_.write_at(at, footer); !ok) return ok;
      report_.done.push_back(fmt::format("footer at {:#x}: checksum corrected", at));
    }
    return file_.sync_data();
  }

  Expected<void> quarantine(const VhdLayout& layout) {
    if (report_.quarantined.empty()) return {};
    auto entries = layout.entries;
    for (const auto& bad : report_.quarantined) {
      entries[bad.block] = kUnusedBlock;
      report_.done.push_back(
          fmt::format("BAT entry {}: {:#x} taken out of the table", bad.block, bad.entry));
    }
    const AlignedBuffer table(entries.size() * sizeof(std::uint32_t));
    write_block_table(table.all(), entries);
    if (auto ok = file_.write_at(layout.header.table_offset, table.all()); !ok) return ok;
    return file_.sync_data();
  }

  Expected<void> give_uuid(FooterBytes& bytes) {
    const auto uuid = random_uuid();
    if (!uuid) return failed(uuid.error());
    std::ranges::copy(*uuid, bytes.begin() + kFooterUuid);
    report_.done.emplace_back("footer: a new unique id");
    return {};
  }

  // Into the footer that decides; the other one follows when the image settles.
  Expected<void> fix_uuid(const VhdLayout& layout) {
    if (layout.footers.chosen.uuid != Uuid{}) return {};
    auto bytes = layout.footers.bytes;
    if (auto ok = give_uuid(bytes); !ok) return ok;
    seal(bytes, kFooterChecksum);
    const auto at = layout.footers.copy_valid ? 0 : layout.footers.end_offset;
    if (auto ok = file_.write_at(at, bytes); !ok) return ok;
    return file_.sync_data();
  }

  // The blocks are right by now: what opening for writing repairs, and the batmap.
  Expected<void> settle() {
    auto footers = read_footers(file_);
    if (!footers) return failed(footers.error());
    auto layout = read_vhd_layout(file_, std::move(*footers), Access::read_only);
    if (!layout) return failed(layout.error());
    if (file_.is_block_device()) return {};
    if (layout->footers.at_end && layout->footers.copy_valid &&
        layout->footers.bytes != layout->footers.at_end_bytes) {
      // Opening uses the one at the end as long as it fits: so must the copy.
      layout->footers.copy_valid = false;
      report_.done.emplace_back("footer at 0x0: made the same as that at the end");
    } else if (!layout->footers.copy_valid) {
      report_.done.emplace_back("footer at 0x0: written from that at the end");
    }
    const auto end = repair_footers(file_, *layout);
    if (!end) return failed(end.error());
    if (end->footer_offset != layout->footers.end_offset || !layout->footer_at_end_valid) {
      report_.done.push_back(fmt::format("footer at {:#x}: written", end->footer_offset));
    }
    return rebuild_batmap(*layout);
  }

  Expected<void> rebuild_batmap(const VhdLayout& layout) {
    if (!may_use_batmap(layout)) return {};
    const auto bits = true_batmap(layout);
    if (!bits) return failed(bits.error());
    if (layout.batmap->bits != *bits) report_.done.emplace_back("batmap: rebuilt");
    return store_batmap(file_, *layout.batmap, *bits);
  }

  Expected<std::vector<std::byte>> true_batmap(const VhdLayout& layout) {
    std::vector<std::byte> bits(layout.batmap->map.bytes);
    const AlignedBuffer bitmap(layout.shape.bitmap_bytes());
    const auto count = std::min<std::uint64_t>(layout.block_count, bits.size() * 8);
    for (std::uint64_t block = 0; block < count; ++block) {
      const auto entry = layout.entries[block];
      const auto range = layout.shape.range(entry);
      if (entry == kUnusedBlock || range.end() > layout.footers.file_bytes) continue;
      if (auto ok = file_.read_at(range.start, bitmap.all()); !ok) return failed(ok.error());
      const auto sectors = layout.shape.block_sectors();
      const auto run = bitmap_run(bitmap.all(), 0, sectors);
      if (run.present && run.sectors == sectors) bits[block / 8] |= std::byte{0x80} >> (block % 8);
    }
    return bits;
  }

  File& file_;
  MetadataStore& backup_;
  RepairReport report_;
};

}  // namespace

Expected<RepairReport> repair_image(File& file, MetadataStore& backup) {
  return Repair(file, backup).run();
}

}  // namespace xenblk::vhd
