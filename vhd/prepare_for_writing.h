// Makes a checked image fit to be written: a crash may have left it without a footer, or with data
// where nothing is allocated. Writes to the file. Control path.
#pragma once

#include "vhd/dynamic_image.h"

namespace xenblk::vhd {

// Only the footers: both are there, valid and on stable storage afterwards. No free space is looked
// for, and none is emptied. Refused: an image on a block device.
Expected<WritableEnd> repair_footers(File& file, const VhdLayout& layout);

// On a block device the footer stays at the end and the free space is no hole.
Expected<WritableEnd> prepare_for_writing(File& file, const VhdLayout& layout);

}  // namespace xenblk::vhd
