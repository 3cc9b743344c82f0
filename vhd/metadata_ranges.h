// Metadata of other programs that lies among the blocks and must stay where it is.
#pragma once

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

// blktap's batmap, which follows the table of images that it made. A batmap that makes no sense is
// left out with a warning: it is only a cache.
Expected<void> add_batmap(File& file, VhdLayout& layout);

}  // namespace xenblk::vhd
