#include "vhd/read_vhd.h"

#include <utility>

#include <fmt/format.h>

namespace xenblk::vhd {
namespace {

// blktap's first version has the bits of a bitmap in another order.
constexpr std::uint32_t kOldTapVersion = 0x00000001;

Expected<VhdContents> read_fixed(Footers footers) {
  const auto bytes = guest_bytes(*footers.at_end);
  if (bytes < kSectorBytes) return fail(Errc::bad_image, "footer: the disk's size is 0");
  if (bytes > footers.end_offset) {
    return fail(Errc::bad_image,
                fmt::format("footer at {:#x}: a size of {} is more than the file has before it",
                            footers.end_offset, bytes));
  }
  return VhdContents{.capacity = {bytes / kSectorBytes}, .fixed_footers = std::move(footers)};
}

bool made_by_old_tap(const Footer& footer) {
  return footer.creator_name() == std::string_view("tap\0", 4) &&
         footer.creator_version == kOldTapVersion;
}

std::unexpected<Error> old_tap() {
  return fail(Errc::unsupported_image, "footer: made by blktap 0.1, whose bitmaps are different");
}

Expected<VhdContents> read_blocks(File& file, Footers footers) {
  if (made_by_old_tap(footers.chosen)) return old_tap();
  auto layout = read_vhd_layout(file, std::move(footers));
  if (!layout) return std::unexpected(layout.error());
  // A repair would keep the one at the end, unless a block covers it.
  if (layout->footers.at_end && made_by_old_tap(*layout->footers.at_end)) return old_tap();
  const auto capacity = layout->capacity;
  return VhdContents{.capacity = capacity, .layout = std::move(*layout)};
}

}  // namespace

Expected<VhdContents> read_vhd(File& file) {
  auto footers = read_footers(file);
  if (!footers) return std::unexpected(footers.error());
  switch (footers->chosen.type) {
    case DiskType::fixed:
      return read_fixed(std::move(*footers));
    case DiskType::dynamic:
    case DiskType::differencing:
      break;
  }
  return read_blocks(file, std::move(*footers));
}

}  // namespace xenblk::vhd
