// Looks for data that a smaller disk would lose. Control path, blocking.
#pragma once

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

// The offset of the first sector in the range that is not zero; kNoOffset if there is none. Holes
// are not read.
Expected<std::uint64_t> find_data(File& file, ByteRange range);

// refused: a block beyond the new size, or the part of one, holds something.
Expected<void> check_tail_is_empty(File& file, const VhdLayout& layout, SectorCount capacity);

}  // namespace xenblk::vhd
