// Metadata of other programs that lies among the blocks and must stay where it is.
#pragma once

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

// Where metadata must end: before the footer, or with the file if there is none.
std::uint64_t end_of_content(const Footers& footers);

// The place of blktap's batmap, which follows the table of images that it made. One that makes no
// sense is left out with a warning: it is only a cache. Refused: an image that it says is
// encrypted.
Expected<void> add_batmap(File& file, VhdLayout& layout);

// Its bits, once the table is known; what contradicts it or the checksum is not believed.
Expected<void> read_batmap(File& file, VhdLayout& layout);

// What a differencing image says of its parent: reads it and keeps its place. Each locator for
// itself: one that makes no sense is left out with a warning, and the others are believed.
Expected<void> add_locators(File& file, VhdLayout& layout);

}  // namespace xenblk::vhd
