// What is in a dynamic or differencing VHD file, read and checked: nothing in it points outside the
// file or at two things at once. Plain values. read_vhd_layout: control path, reads the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vhd/format/batmap.h"
#include "vhd/format/block_table.h"
#include "vhd/format/dynamic_header.h"
#include "vhd/format/footer.h"
#include "vhd/format/parent_locator.h"
#include "vhd/read_footers.h"

namespace xenblk::vhd {

struct VhdLayout {
  Footers footers;
  DynamicHeader header;
  BlockShape shape;
  SectorCount capacity;
  std::uint64_t block_count = 0;  // as many as the capacity needs
  // The table's entries, in whole sectors of it. Those from block_count on are of no block, and are
  // kept because they share a sector with some that are.
  std::vector<std::uint32_t> entries;
  std::optional<Batmap> batmap;
  std::vector<LocatorData> locators;  // of a differencing image: those that make sense
  ParentPaths parents;                // of a differencing image; its warnings are among `warnings`
  std::vector<ByteRange> metadata;    // footer copy, header, table, batmap, locators
  std::uint64_t end_of_metadata = 0;
  std::uint64_t end_of_data = 0;  // of the last block and of all metadata
  bool footer_at_end_valid = false;
  bool last_block_cut = false;  // the file ends within a block
  std::vector<Warning> warnings;

  bool is_differencing() const { return footers.chosen.type == DiskType::differencing; }
};

// An image that cannot be opened for writing as it is, is refused with what to do about it.
Expected<VhdLayout> read_vhd_layout(File& file, Footers footers, Access access);
inline Expected<VhdLayout> read_vhd_layout(File& file, Footers footers) {
  return read_vhd_layout(file, std::move(footers), file.access());
}

// All but the blocks: where they are is read, and not looked at. For check and repair.
Expected<VhdLayout> read_vhd_structure(File& file, Footers footers, Access access);

}  // namespace xenblk::vhd
