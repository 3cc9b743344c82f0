// From a file with a VHD in it to the image. Control path.
#pragma once

#include <functional>
#include <memory>

#include "vhd/chain/level.h"
#include "vhd/dynamic_image.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

// Finds and opens all that a differencing image is based on, the nearest parent first.
using OpenParents = std::function<Expected<Levels>(const ParentReference& parent)>;

// Takes the file over. Checks everything that the format says and repairs, for writing, what a
// crash leaves. bad_image: the file contradicts itself or the format, with the field, its value and
// where it is; unsupported_image: a kind that is not served. The text does not name the file.
Expected<std::unique_ptr<Image>> open_vhd_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes,
                                                const VhdTuning& tuning = {},
                                                const OpenParents& open_parents = {});

}  // namespace xenblk::vhd
