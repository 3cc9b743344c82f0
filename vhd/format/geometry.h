// Cylinders, heads and sectors as the VHD specification computes them from a size (appendix "CHS
// calculation"), and back. Pure.
#pragma once

#include <cstdint>

#include "xenblk/units.h"

namespace xenblk::vhd {

struct Geometry {
  std::uint16_t cylinders = 0;
  std::uint8_t heads = 0;
  std::uint8_t sectors_per_track = 0;
  friend bool operator==(const Geometry&, const Geometry&) = default;
};

// The largest geometry; readers take it as "the geometry does not tell the size".
inline constexpr Geometry kGeometryMax{65535, 16, 255};

Geometry geometry_of(SectorCount size);

constexpr SectorCount sectors_of(const Geometry& geometry) {
  return {std::uint64_t{geometry.cylinders} * geometry.heads * geometry.sectors_per_track};
}

}  // namespace xenblk::vhd
