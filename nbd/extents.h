// What of a disk is stored, in the words of the context base:allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "xenblk/image.h"

namespace xenblk::nbd {

// Of one reply: 512 extents.
inline constexpr std::uint32_t kExtentBytesMax = kPageBytes;

// Describes sectors from `first` on, at least one and at most `count`, in as few extents as can be,
// or in one. Returns how many bytes of `into` (kExtentBytesMax) it took. Blocks on the image's
// file, for a bounded number of looks. Where the image cannot tell, the rest counts as data:
// whoever reads it gets the content, or the error.
std::uint32_t describe_extents(Image& image, SectorIndex first, SectorCount count, bool one,
                               std::span<std::byte> into);

}  // namespace xenblk::nbd
