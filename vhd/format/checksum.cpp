#include "vhd/format/checksum.h"

#include <cassert>

namespace xenblk::vhd {

std::uint32_t checksum_of(std::span<const std::byte> bytes, std::size_t checksum_offset) {
  assert(checksum_offset + sizeof(std::uint32_t) <= bytes.size());
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool own = i >= checksum_offset && i < checksum_offset + sizeof(std::uint32_t);
    if (!own) sum += std::to_integer<std::uint32_t>(bytes[i]);
  }
  return ~sum;
}

}  // namespace xenblk::vhd
