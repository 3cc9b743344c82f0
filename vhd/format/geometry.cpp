#include "vhd/format/geometry.h"

#include <algorithm>

namespace xenblk::vhd {
namespace {

struct Shape {
  std::uint64_t sectors_per_track;
  std::uint64_t heads;
  std::uint64_t tracks;  // cylinders times heads
};

Shape shape_of(std::uint64_t total) {
  if (total >= std::uint64_t{65535} * 16 * 63) return {255, 16, total / 255};
  const auto tracks = total / 17;
  const auto heads = std::max<std::uint64_t>(4, (tracks + 1023) / 1024);
  if (tracks < heads * 1024 && heads <= 16) return {17, heads, tracks};
  if (total / 31 < 16 * 1024) return {31, 16, total / 31};
  return {63, 16, total / 63};
}

}  // namespace

Geometry geometry_of(SectorCount size) {
  const auto total = std::min(size.n, sectors_of(kGeometryMax).n);
  const auto shape = shape_of(total);
  return {static_cast<std::uint16_t>(shape.tracks / shape.heads),
          static_cast<std::uint8_t>(shape.heads),
          static_cast<std::uint8_t>(shape.sectors_per_track)};
}

}  // namespace xenblk::vhd
