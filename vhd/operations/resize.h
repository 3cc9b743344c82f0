// Changes the size of a disk in its file. Control path, blocking; nobody may use the image
// meanwhile: for a running disk between its last request and its next opening.
//
// Nothing that an interrupted resize leaves is lost: what is changed in place is first saved in a
// journal, and opening for writing puts it back. A table that needs more room than there is behind
// it is written anew at the end of the file, where nothing refers to it until the header does; so
// no block and no locator ever moves.
#pragma once

#include "vhd/operations/metadata_store.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

// The new part of a differencing image shows what its parents have there. Refused, with nothing
// changed: a size that the format does not have (bad_spec); a smaller disk that would lose data, or
// a fixed one whose footer would be written over the only one that there is (refused); an image
// with a saved state, on a block device, or one that cannot be written. When it returns with
// another error, recover_resize() must run before the next use.
Expected<void> resize_image(File& file, SectorCount capacity, MetadataStore& journal);

// Puts back what an interrupted resize or relinking has changed; says whether there was one. Before
// anything else is done with the image. For a file that is open read-only: unsupported_image when
// there was one. bad_image: the journal is not of this image, or damaged.
Expected<bool> recover_resize(File& file, MetadataStore& journal);

// The same for the image at `path`, whose journal is a file beside it.
Expected<void> recover_host_image(File& file, const std::string& path);

// The same for an image that is not open: it is opened for writing if there is something to put
// back, and only then. For what is about to be read only, as parents are.
Expected<void> recover_closed_host_image(const std::string& path);

}  // namespace xenblk::vhd
