// Operations on an image of the host by its path: opened for writing and locked, what an earlier
// change left undone is put back first, and every error names the file. Control path, blocking.
#pragma once

#include <string>

#include "vhd/operations/repair.h"

namespace xenblk::vhd {

// What is replaced is kept beside the image: "<path>.before-repair-1", or the next number.
Expected<RepairReport> repair_host_image(const std::string& path);

Expected<void> resize_host_image(const std::string& path, SectorCount capacity);

// The child at `child_path` gets the image at `parent_path` as its parent.
Expected<void> relink_host_image(const std::string& child_path, const std::string& parent_path);

}  // namespace xenblk::vhd
