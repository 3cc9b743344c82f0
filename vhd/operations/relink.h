// Tells a differencing image of another parent: after the one between them was merged into it.
// Control path, blocking; nobody else may have the child open.
#pragma once

#include "vhd/create.h"
#include "vhd/operations/metadata_store.h"

namespace xenblk::vhd {

// The new paths are written where nothing is, then the header is changed under a journal, as for a
// resize: interrupted, recover_resize() gives the old parent back. The old paths stay in the file,
// unused. Refused: what is no differencing image, or cannot be written.
Expected<void> relink_child(File& child, const ParentLink& parent, MetadataStore& journal);

}  // namespace xenblk::vhd
