// Makes a damaged image fit to be opened again. Nothing of the guest's is deleted: a block that
// cannot be where the table says is only taken out of the table, is told of, and the metadata as it
// was is saved first. Control path, blocking; nobody else may have the image open.
#pragma once

#include <string>
#include <vector>

#include "vhd/operations/check.h"
#include "vhd/operations/metadata_store.h"

namespace xenblk::vhd {

struct RepairReport {
  std::vector<std::string> done;      // what was changed, a line each; empty: nothing was wrong
  std::vector<BadEntry> quarantined;  // blocks that were taken out of the table
};

// A second repair finds nothing to do. Interrupted at any moment it can be started again. `backup`
// gets what is replaced before anything is. bad_image: too little is left to know what the image is
// (no footer, no header, a table that makes no sense).
Expected<RepairReport> repair_image(File& file, MetadataStore& backup);

}  // namespace xenblk::vhd
