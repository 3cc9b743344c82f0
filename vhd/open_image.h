// From an open file to the image that is in it. The format comes from the specification, never from
// the content. Control path, any thread.
#pragma once

#include <memory>

#include "vhd/image_spec.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Takes the file over. The error's text does not name the file; the caller adds the path.
Expected<std::unique_ptr<Image>> open_image(Format format, std::unique_ptr<File> file,
                                            std::uint32_t physical_sector_bytes);

}  // namespace xenblk::vhd
