#include "vhd/open_vhd.h"

#include <optional>
#include <utility>

#include <fmt/format.h>

#include "vhd/dynamic_image.h"
#include "vhd/flat_image.h"
#include "vhd/prepare_for_writing.h"
#include "vhd/vhd_layout.h"

namespace xenblk::vhd {
namespace {

// blktap's first version has the bits of a bitmap in another order.
constexpr std::uint32_t kOldTapVersion = 0x00000001;

Expected<std::unique_ptr<Image>> open_fixed(std::unique_ptr<File> file, const Footers& footers,
                                            std::uint32_t physical_sector_bytes) {
  const auto bytes = guest_bytes(*footers.at_end);
  if (bytes < kSectorBytes) return fail(Errc::bad_image, "footer: the disk's size is 0");
  if (bytes > footers.end_offset) {
    return fail(Errc::bad_image,
                fmt::format("footer at {:#x}: a size of {} is more than the file has before it",
                            footers.end_offset, bytes));
  }
  ImageInfo info{.format = "vhd fixed",
                 .capacity = {bytes / kSectorBytes},
                 .physical_sector_bytes = physical_sector_bytes,
                 .access = file->access(),
                 .discard = file->access() == Access::read_write};
  return std::make_unique<FlatImage>(std::move(file), std::move(info));
}

Expected<std::unique_ptr<Image>> open_dynamic(std::unique_ptr<File> file, Footers footers,
                                              std::uint32_t physical_sector_bytes,
                                              const VhdTuning& tuning) {
  if (footers.chosen.creator_name() == std::string_view("tap\0", 4) &&
      footers.chosen.creator_version == kOldTapVersion) {
    return fail(Errc::unsupported_image, "footer: made by blktap 0.1, whose bitmaps are different");
  }
  auto layout = read_vhd_layout(*file, std::move(footers));
  if (!layout) return std::unexpected(layout.error());
  std::optional<WritableEnd> end;
  if (file->access() == Access::read_write) {
    auto prepared = prepare_for_writing(*file, *layout);
    if (!prepared) return std::unexpected(prepared.error());
    end = *prepared;
  }
  return std::make_unique<DynamicImage>(std::move(file), *layout, end, physical_sector_bytes,
                                        tuning);
}

}  // namespace

Expected<std::unique_ptr<Image>> open_vhd_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes,
                                                const VhdTuning& tuning) {
  auto footers = read_footers(*file);
  if (!footers) return std::unexpected(footers.error());
  switch (footers->chosen.type) {
    case DiskType::fixed:
      return open_fixed(std::move(file), *footers, physical_sector_bytes);
    case DiskType::dynamic:
      return open_dynamic(std::move(file), std::move(*footers), physical_sector_bytes, tuning);
    case DiskType::differencing:
      break;
  }
  return fail(Errc::unsupported_image, "a differencing image (disk type 4) is not served");
}

}  // namespace xenblk::vhd
