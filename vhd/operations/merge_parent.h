// What a merge into a parent, of a disk that runs or of one that does not, has to know of it.
#pragma once

#include <string>

#include "xenblk/error.h"
#include "xenblk/io.h"
#include "xenblk/units.h"

namespace xenblk::vhd {

// The path under which an open file can be found now. Blocks.
Expected<std::string> path_of(const File& file);

struct MergeSizes {
  std::string child_path;
  SectorCount child;
  std::string parent_path;
  SectorCount parent;
  bool parent_is_vhd = true;
  SectorCount below;  // the parent's parent; 0: it has none
};

// Whether the parent must grow before the child is merged into it. Pure. Errors: refused.
Expected<bool> parent_must_grow(const MergeSizes& sizes);

}  // namespace xenblk::vhd
