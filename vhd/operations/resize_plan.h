// What a resize of a dynamic image changes, decided before anything is. Pure.
#pragma once

#include <optional>

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

struct ResizePlan {
  std::uint64_t block_count = 0;
  std::uint64_t footer_offset = 0;  // of the new one at the end
  DynamicHeader header;             // as it will be
  std::optional<Batmap> batmap;     // where it will be
  bool moves_table = false;         // to where `header` says, with the batmap behind it
  // From the table's start: entries of no block that become blocks, and must be unused.
  ByteRange new_entries;
};

// Errors: bad_spec.
Expected<ResizePlan> plan_resize(const VhdLayout& layout, SectorCount capacity);

// The footer of the new size: size, geometry and checksum; all else stays byte for byte.
FooterBytes resized_footer(const FooterBytes& footer, SectorCount capacity);

}  // namespace xenblk::vhd
