// Merges a child into its parent: the parent then holds what the child showed, and the child's file
// is gone. Nobody may have any of them open. Control path, blocking.
//
// Until the child is removed it shows the same content as before, whatever of it is in the parent
// already; so an interrupted merge is begun again by doing the same once more. A child that has
// children stores nothing any more before the first of them becomes one of the parent: the parent
// may then have other children, and merging once more does not touch it.
#pragma once

#include <functional>
#include <string>

#include "vhd/chain/parent_search.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Writes what `child` stores itself into `parent`, zeroes too, and leaves all else of the parent as
// it is; durable when it returns.
using CopyLayer =
    std::function<Expected<void>(Image& child, Image& parent, const std::string& parent_path)>;

// The children of the child become children of the parent. Refused, with nothing changed: what is
// no differencing image or has a saved state; a parent that has other children in one of the
// directories, or that another one is noted of as the one in which its disk goes on, if the child
// stores anything, since their content would change; a disk that is smaller than its parent's, or
// larger when that is smaller than its own parent's.
Expected<void> coalesce_host_image(const std::string& child_path, const ParentPolicy& parents,
                                   const CopyLayer& copy);

// Takes all blocks out of the table of a child whose parent holds what they do. On stable storage
// when it returns. The child's file must be open for writing, and no request under way.
Expected<void> forget_blocks(File& child);

}  // namespace xenblk::vhd
