// From a file with a VHD in it to the image. Control path.
#pragma once

#include <memory>

#include "vhd/dynamic_image.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Takes the file over. Checks everything that the format says and repairs, for writing, what a
// crash leaves. bad_image: the file contradicts itself or the format, with the field, its value and
// where it is; unsupported_image: a kind that is not served. The text does not name the file.
Expected<std::unique_ptr<Image>> open_vhd_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes,
                                                const VhdTuning& tuning = {});

}  // namespace xenblk::vhd
