#include "vhd/operations/relink.h"

#include <algorithm>

#include "vhd/operations/journaled_change.h"
#include "vhd/prepare_for_writing.h"

namespace xenblk::vhd {
namespace {

// Room for the paths behind all that is in use; the footer moves only if it is in the way.
struct Room {
  std::uint64_t start = 0;
  std::uint64_t footer_offset = 0;
};

Room find_room(const VhdLayout& layout, std::uint64_t bytes) {
  const auto start = round_up(layout.end_of_data, kSectorBytes);
  const auto footer = layout.footers.end_offset;
  if (start <= footer && bytes <= footer - start) return {start, footer};
  return {footer + kFooterBytes, footer + kFooterBytes + bytes};
}

struct NewParent {
  DynamicHeader header;
  std::vector<std::byte> paths;
};

// The header's other locators are of the old parent, whoever wrote them.
NewParent describe_parent(const DynamicHeader& old, const ParentLink& parent,
                          const EncodedParent& encoded, std::uint64_t start) {
  NewParent made{old, {}};
  made.header.parent_uuid = parent.uuid;
  made.header.parent_changed = parent.changed;
  made.header.parent_name = encoded.name;
  made.header.locators = {};
  for (const auto& data : encoded.locators) {
    const auto locator = locator_for(data, start + made.paths.size());
    made.header.locators[data.slot] = locator;
    const auto end = made.paths.size() + locator.data_space;
    made.paths.insert(made.paths.end(), data.bytes.begin(), data.bytes.end());
    made.paths.resize(end);
  }
  return made;
}

Expected<VhdLayout> read_sound_child(File& child) {
  auto footers = read_footers(child);
  if (!footers) return std::unexpected(footers.error());
  if (footers->chosen.type != DiskType::differencing) {
    return fail(Errc::refused, "footer: not a differencing image, so it has no parent");
  }
  auto layout = read_vhd_layout(child, std::move(*footers), Access::read_write);
  if (!layout) return layout;
  if (auto ok = repair_footers(child, *layout); !ok) return std::unexpected(ok.error());
  footers = read_footers(child);
  if (!footers) return std::unexpected(footers.error());
  return read_vhd_layout(child, std::move(*footers), Access::read_write);
}

}  // namespace

Expected<void> relink_child(File& child, const ParentLink& parent, MetadataStore& journal) {
  const auto encoded = encode_parent(parent.place);
  if (!encoded) return std::unexpected(encoded.error());
  const auto layout = read_sound_child(child);
  if (!layout) return std::unexpected(layout.error());
  const auto bytes = describe_parent(layout->header, parent, *encoded, 0).paths.size();
  const auto room = find_room(*layout, bytes);
  const auto made = describe_parent(layout->header, parent, *encoded, room.start);
  const auto header_offset = layout->footers.chosen.data_offset;
  const auto end_offset = layout->footers.end_offset;
  auto done = save_metadata(child, journal, layout->footers,
                            {{header_offset, kDynamicHeaderBytes}, {end_offset, kFooterBytes}});
  if (done && room.footer_offset != end_offset) {
    done = write_and_sync(child, room.footer_offset, layout->footers.at_end_bytes);
  }
  if (done) done = write_and_sync(child, room.start, made.paths);
  if (done) done = write_and_sync(child, header_offset, write_dynamic_header(made.header));
  return done ? journal.remove() : done;
}

}  // namespace xenblk::vhd
