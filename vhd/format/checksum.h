// The checksum of footers and headers: the one's complement of the sum of all bytes, the checksum's
// own four counted as zero (VHD specification, "Checksum"). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace xenblk::vhd {

std::uint32_t checksum_of(std::span<const std::byte> bytes, std::size_t checksum_offset);

}  // namespace xenblk::vhd
