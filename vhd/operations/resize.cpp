#include "vhd/operations/resize.h"

#include <algorithm>

#include <fmt/format.h>

#include "vhd/aligned_buffer.h"
#include "vhd/batmap_file.h"
#include "vhd/host_file.h"
#include "vhd/operations/journaled_change.h"
#include "vhd/operations/resize_plan.h"
#include "vhd/operations/tail_data.h"
#include "vhd/prepare_for_writing.h"

namespace xenblk::vhd {
namespace {

constexpr std::uint64_t kFixedBytesMax = std::uint64_t{1} << 62;

// The steps of a dynamic image. Each but the last is undone by the journal; the last, its removal,
// is what makes the new size hold.
class DynamicResize {
 public:
  DynamicResize(File& file, MetadataStore& journal, const VhdLayout& layout, const ResizePlan& plan,
                SectorCount capacity)
      : file_(file), journal_(journal), layout_(layout), plan_(plan), capacity_(capacity) {}

  Expected<void> run() {
    const auto header_offset = layout_.footers.chosen.data_offset;
    const auto end_offset = layout_.footers.end_offset;
    auto done = save_metadata(
        file_, journal_, layout_.footers,
        {{0, kFooterBytes}, {header_offset, kDynamicHeaderBytes}, {end_offset, kFooterBytes}});
    if (done) done = clear_end_of_last_block();
    if (done && plan_.moves_table) done = move_footer();
    if (done) done = write_table();
    if (done && plan_.header != layout_.header) {
      done = write_and_sync(file_, header_offset, write_dynamic_header(plan_.header));
    }
    if (done) done = write_footers();
    return done ? journal_.remove() : done;
  }

 private:
  // Whatever another program left behind the disk's end would become part of the disk.
  Expected<void> clear_end_of_last_block() {
    const auto sectors = layout_.shape.block_sectors();
    const auto used = layout_.capacity.n % sectors;
    const auto entry = layout_.entries[layout_.block_count - 1];
    if (capacity_ <= layout_.capacity || used == 0 || entry == kUnusedBlock) return {};
    return file_.punch_hole(layout_.shape.data_offset(entry) + used * kSectorBytes,
                            (sectors - used) * kSectorBytes);
  }

  // As it is, to where the file will end: below it is then room for the table.
  Expected<void> move_footer() {
    return write_and_sync(file_, plan_.footer_offset, layout_.footers.at_end_bytes);
  }

  Expected<void> write_table() {
    const auto& added = plan_.new_entries;
    const auto start = plan_.moves_table ? 0 : added.start / kSectorBytes * kSectorBytes;
    if (plan_.moves_table || added.bytes != 0) {
      const AlignedBuffer table(round_up(added.end(), kSectorBytes) - start);
      std::ranges::fill(table.all(), std::byte{0xff});
      const auto first = start / sizeof(std::uint32_t);
      const auto kept = std::span(layout_.entries).first(layout_.block_count).subspan(first);
      write_block_table(table.all(), kept);
      const auto offset = plan_.header.table_offset + start;
      if (auto ok = file_.write_at(offset, table.all()); !ok) return ok;
    }
    if (!plan_.batmap) return file_.sync_data();
    return store_batmap(file_, *plan_.batmap, std::vector<std::byte>(plan_.batmap->map.bytes));
  }

  Expected<void> write_footers() {
    const auto footer = resized_footer(layout_.footers.at_end_bytes, capacity_);
    if (auto ok = write_and_sync(file_, plan_.footer_offset, footer); !ok) return ok;
    return write_and_sync(file_, 0, footer);
  }

  File& file_;
  MetadataStore& journal_;
  const VhdLayout& layout_;
  const ResizePlan& plan_;
  SectorCount capacity_;
};

std::unexpected<Error> saved_state() {
  return fail(Errc::refused,
              "footer: saved state is 1: the disk's size must not change while a virtual machine "
              "is suspended");
}

Expected<void> resize_dynamic(File& file, Footers footers, SectorCount capacity,
                              MetadataStore& journal) {
  auto layout = read_vhd_layout(file, std::move(footers), Access::read_write);
  if (!layout) return std::unexpected(layout.error());
  if (capacity == layout->capacity) return {};
  if (auto ok = plan_resize(*layout, capacity); !ok) return std::unexpected(ok.error());
  if (auto ok = check_tail_is_empty(file, *layout, capacity); !ok) return ok;
  // Both footers are there before the first of them is changed.
  if (auto ok = repair_footers(file, *layout); !ok) return std::unexpected(ok.error());
  auto sound = read_footers(file);
  if (!sound) return std::unexpected(sound.error());
  layout = read_vhd_layout(file, std::move(*sound), Access::read_write);
  if (!layout) return std::unexpected(layout.error());
  const auto plan = plan_resize(*layout, capacity);
  if (!plan) return std::unexpected(plan.error());
  return DynamicResize(file, journal, *layout, *plan, capacity).run();
}

// A fixed image is its data and a footer.
Expected<void> move_fixed_end(File& file, const Footers& footers, std::uint64_t new_end) {
  const auto footer = resized_footer(footers.bytes, {new_end / kSectorBytes});
  if (auto ok = write_and_sync(file, new_end, footer); !ok) return ok;
  if (new_end > footers.end_offset) {
    const FooterBytes zeroes = {};
    return write_and_sync(file, footers.end_offset, zeroes);
  }
  if (auto ok = file.truncate(new_end + kFooterBytes); !ok) return ok;
  return file.sync_data();
}

Expected<void> check_fixed(File& file, const Footers& footers, SectorCount capacity) {
  if (capacity.n == 0) return fail(Errc::bad_spec, "a disk of no size");
  if (capacity.n > kFixedBytesMax / kSectorBytes) {
    return fail(Errc::bad_spec, fmt::format("a disk of {} sectors is larger than {} bytes",
                                            capacity.n, kFixedBytesMax));
  }
  const auto& footer = footers.chosen;
  if (footer.current_bytes != footers.end_offset ||
      footers.end_offset + kFooterBytes != footers.file_bytes) {
    return fail(Errc::unsupported_image,
                fmt::format("footer at {:#x}: the file has {} bytes, which a disk of {} does not "
                            "need; repair it first",
                            footers.end_offset, footers.file_bytes, footer.current_bytes));
  }
  const auto end = capacity.n * kSectorBytes;
  if (end >= footers.end_offset) return {};
  const auto data = find_data(file, {end, footers.end_offset - end});
  if (!data) return std::unexpected(data.error());
  if (*data == kNoOffset) return {};
  return fail(Errc::refused,
              fmt::format("a disk of {} sectors would lose the data at {:#x}", capacity.n, *data));
}

Expected<void> resize_fixed(File& file, const Footers& footers, SectorCount capacity,
                            MetadataStore& journal) {
  if (auto ok = check_fixed(file, footers, capacity); !ok) return ok;
  // A file that ends amid a sector shows what is before that.
  if (capacity.n == footers.end_offset / kSectorBytes) return {};
  const auto new_end = capacity.n * kSectorBytes;
  if (new_end > footers.end_offset && new_end - footers.end_offset < kFooterBytes) {
    return fail(Errc::refused,
                fmt::format("footer at {:#x}: that of a disk of {} sectors would be written over "
                            "it: grow it by one sector more",
                            footers.end_offset, capacity.n));
  }
  std::vector<ByteRange> changed{{footers.end_offset, kFooterBytes}};
  if (new_end < footers.end_offset) changed.insert(changed.begin(), {new_end, kFooterBytes});
  if (auto ok = save_metadata(file, journal, footers, changed); !ok) return ok;
  if (auto ok = move_fixed_end(file, footers, new_end); !ok) return ok;
  return journal.remove();
}

// Either footer tells; a fixed image that was growing may have only the old one, where it was.
bool is_of_this_image(File& file, const SavedMetadata& saved) {
  const auto footers = read_footers(file);
  if (footers && footers->chosen.uuid == saved.uuid) return true;
  FooterBytes bytes;
  if (saved.file_bytes < kFooterBytes) return false;
  if (!file.read_at(saved.file_bytes - kFooterBytes, bytes)) return false;
  const auto footer = parse_footer(bytes);
  return footer && footer->uuid == saved.uuid;
}

Expected<void> put_back(File& file, const SavedMetadata& saved) {
  for (const auto& range : saved.ranges) {
    if (auto ok = file.write_at(range.offset, range.bytes); !ok) return ok;
  }
  if (auto ok = file.sync_data(); !ok) return ok;
  if (auto ok = file.truncate(saved.file_bytes); !ok) return ok;
  return file.sync_data();
}

std::unexpected<Error> bad_journal(const std::string& why) {
  return fail(Errc::bad_image, "the journal of an interrupted change (.vhdj) " + why);
}

}  // namespace

Expected<void> resize_image(File& file, SectorCount capacity, MetadataStore& journal) {
  auto footers = read_footers(file);
  if (!footers) return std::unexpected(footers.error());
  if (file.is_block_device()) {
    return fail(Errc::unsupported_image, "the size of an image on a block device is the device's");
  }
  if (footers->chosen.saved_state) return saved_state();
  if (footers->chosen.type == DiskType::fixed) {
    return resize_fixed(file, *footers, capacity, journal);
  }
  return resize_dynamic(file, std::move(*footers), capacity, journal);
}

Expected<bool> recover_resize(File& file, MetadataStore& journal) {
  const auto bytes = journal.load();
  if (!bytes) return std::unexpected(bytes.error());
  if (!bytes->has_value()) return false;
  if (file.access() == Access::read_only) {
    return fail(Errc::unsupported_image,
                "a change of its metadata was interrupted: open the image for writing once, "
                "which undoes it");
  }
  const auto saved = parse_saved_metadata(**bytes);
  if (!saved) return bad_journal("is damaged: " + saved.error().text);
  // Its last range is the footer that was at the file's end.
  if (saved->ranges.empty() ||
      saved->ranges.back().offset + saved->ranges.back().bytes.size() != saved->file_bytes) {
    return bad_journal("is damaged: it has no footer");
  }
  if (!is_of_this_image(file, *saved)) return bad_journal("is of another image");
  if (auto ok = put_back(file, *saved); !ok) return std::unexpected(ok.error());
  if (auto ok = journal.remove(); !ok) return std::unexpected(ok.error());
  return true;
}

Expected<void> recover_host_image(File& file, const std::string& path) {
  MetadataFile journal(resize_journal_path(path));
  const auto recovered = recover_resize(file, journal);
  if (recovered) return {};
  return std::unexpected(recovered.error());
}

Expected<void> recover_closed_host_image(const std::string& path) {
  const auto saved = MetadataFile(resize_journal_path(path)).load();
  if (!saved) return std::unexpected(saved.error());
  if (!saved->has_value()) return {};
  const auto file = open_host_file(path, {.access = Access::read_write});
  if (!file) return std::unexpected(file.error());
  return recover_host_image(**file, path);
}

}  // namespace xenblk::vhd
