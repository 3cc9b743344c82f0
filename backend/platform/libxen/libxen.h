// The real Xen: the seam of xenblk/xen.h over libxengnttab, libxenevtchn and libxenstore.
// Only the sources of this folder include the headers of these libraries.
#pragma once

#include <memory>

#include "xenblk/xen.h"

namespace xenblk::libxen {

// Opens nothing yet: each handle is opened, and may be refused, by itself.
std::unique_ptr<Xen> open_xen();

}  // namespace xenblk::libxen
