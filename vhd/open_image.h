// From an open file and the format that its user named to an image. Control path.
#pragma once

#include <memory>

#include "vhd/image_spec.h"
#include "vhd/open_vhd.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Takes the file over. The text of an error does not name the file.
Expected<std::unique_ptr<Image>> open_image(Format format, std::unique_ptr<File> file,
                                            std::uint32_t physical_sector_bytes,
                                            const OpenParents& open_parents);

}  // namespace xenblk::vhd
