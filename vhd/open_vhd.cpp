#include "vhd/open_vhd.h"

#include <optional>
#include <utility>

#include "vhd/flat_image.h"
#include "vhd/prepare_for_writing.h"
#include "vhd/read_vhd.h"

namespace xenblk::vhd {
namespace {

std::unique_ptr<Image> make_fixed(std::unique_ptr<File> file, SectorCount capacity,
                                  std::uint32_t physical_sector_bytes) {
  ImageInfo info{.format = "vhd fixed",
                 .capacity = capacity,
                 .physical_sector_bytes = physical_sector_bytes,
                 .access = file->access(),
                 .discard = file->access() == Access::read_write};
  return std::make_unique<FlatImage>(std::move(file), std::move(info));
}

Expected<Levels> parents_of(const VhdLayout& layout, const OpenParents& open_parents) {
  if (!layout.is_differencing()) return Levels{};
  if (open_parents) return open_parents(parent_reference(layout));
  return fail(Errc::unsupported_image, "a differencing image needs its parents");
}

}  // namespace

// The parents first: nothing is written to an image that cannot be opened.
Expected<std::unique_ptr<Image>> open_vhd_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes,
                                                const VhdTuning& tuning,
                                                const OpenParents& open_parents) {
  auto vhd = read_vhd(*file);
  if (!vhd) return std::unexpected(vhd.error());
  if (!vhd->layout) return make_fixed(std::move(file), vhd->capacity, physical_sector_bytes);
  auto parents = parents_of(*vhd->layout, open_parents);
  if (!parents) return std::unexpected(parents.error());
  std::optional<WritableEnd> end;
  if (file->access() == Access::read_write) {
    auto prepared = prepare_for_writing(*file, *vhd->layout);
    if (!prepared) return std::unexpected(prepared.error());
    end = *prepared;
  }
  return std::make_unique<DynamicImage>(DynamicImage::Parts{
      .file = std::move(file),
      .layout = std::move(*vhd->layout),
      .end = end,
      .parents = std::move(*parents),
      .physical_sector_bytes = physical_sector_bytes,
      .tuning = tuning,
  });
}

}  // namespace xenblk::vhd
