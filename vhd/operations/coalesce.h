// Merges a child into its parent: the parent then holds what the child showed, and the child's file
// is gone. Nobody may have any of them open. Control path, blocking.
//
// Until the child is removed it shows the same content as before, whatever of it is in the parent
// already; so an interrupted merge is begun again by doing the same once more.
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
// directories, since their content would change; a disk that is smaller than its parent's; a parent
// that would have to grow, and then show what its own larger parent has there.
Expected<void> coalesce_host_image(const std::string& child_path, const ParentPolicy& parents,
                                   const CopyLayer& copy);

}  // namespace xenblk::vhd
