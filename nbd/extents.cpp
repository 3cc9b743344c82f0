#include "nbd/extents.h"

#include <algorithm>
#include <cassert>

#include "nbd/byte_order.h"
#include "nbd/protocol.h"

namespace xenblk::nbd {
namespace {

constexpr std::uint32_t kDescriptorBytes = 8;
// Each may cost system calls. As many neighbours as this are looked at for one reply.
constexpr std::uint32_t kLooksMax = 1024;

ImageExtent look(Image& image, SectorIndex first, SectorCount count) {
  auto extent = image.extent_at(first);
  if (!extent) return {ImageExtent::Kind::data, count};
  extent->count.n = std::min(extent->count.n, count.n);
  return *extent;
}

std::uint32_t state_of(ImageExtent::Kind kind) {
  return kind == ImageExtent::Kind::zero ? kStateHole | kStateZero : 0;
}

}  // namespace

std::uint32_t describe_extents(Image& image, SectorIndex first, SectorCount count, bool one,
                               std::span<std::byte> into) {
  assert(count.n != 0 && into.size() >= kExtentBytesMax);
  ByteWriter out(into.first(kExtentBytesMax));
  std::uint64_t position = first.n;
  const std::uint64_t end = first.n + count.n;
  std::uint64_t run_sectors = 0;
  auto run_kind = ImageExtent::Kind::data;
  const auto put_run = [&] {
    out.put(static_cast<std::uint32_t>(run_sectors * kSectorBytes));
    out.put(state_of(run_kind));
  };
  for (std::uint32_t looks = 0; looks < kLooksMax && position < end; ++looks) {
    const auto extent = look(image, {position}, {end - position});
    if (run_sectors != 0 && extent.kind != run_kind) {
      if (one || out.size() + 2 * kDescriptorBytes > kExtentBytesMax) break;
      put_run();
      run_sectors = 0;
    }
    run_kind = extent.kind;
    run_sectors += extent.count.n;
    position += extent.count.n;
  }
  put_run();
  return static_cast<std::uint32_t>(out.size());
}

}  // namespace xenblk::nbd
