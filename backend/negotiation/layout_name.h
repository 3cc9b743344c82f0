// A request layout as administrators see it.
#pragma once

#include <string_view>

#include "xenblk/blkif.h"

namespace xenblk::negotiation {

std::string_view name(blkif::Layout layout);

}  // namespace xenblk::negotiation
