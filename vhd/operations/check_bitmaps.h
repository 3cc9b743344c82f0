// The part of a check that reads every block's bitmap.
#pragma once

#include <span>

#include "vhd/operations/findings.h"

namespace xenblk::vhd {

// Data under clear bits (some readers show it to the guest, others zeroes), and what the batmap
// says that the bitmaps do not. Blocks of `bad` are left out.
Expected<void> check_bitmaps(File& file, Findings& findings, const VhdLayout& layout,
                             std::span<const BadEntry> bad);

}  // namespace xenblk::vhd
