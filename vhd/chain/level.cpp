#include "vhd/chain/level.h"

#include "vhd/read_vhd.h"

namespace xenblk::vhd {

ParentReference parent_reference(const VhdLayout& layout) {
  return {layout.header.parent_uuid, layout.header.parent_changed, layout.parents.candidates};
}

namespace {

Expected<std::shared_ptr<Level>> open_raw_level(std::unique_ptr<File> file) {
  const auto bytes = file->size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  Level::Facts facts{.capacity = {*bytes / kSectorBytes}};
  return std::make_shared<Level>(std::move(file), std::move(facts), nullptr, 0);
}

}  // namespace

Expected<std::shared_ptr<Level>> open_level(std::unique_ptr<File> file, Format format,
                                            std::uint64_t bitmap_budget_bytes) {
  if (format == Format::raw) return open_raw_level(std::move(file));
  const auto vhd = read_vhd(*file);
  if (!vhd) return std::unexpected(vhd.error());
  const auto& chosen = vhd->footers().chosen;
  Level::Facts facts{.capacity = vhd->capacity, .uuid = chosen.uuid, .created = chosen.created};
  const auto* layout = vhd->layout ? &*vhd->layout : nullptr;
  if (layout != nullptr && layout->is_differencing()) facts.parent = parent_reference(*layout);
  return std::make_shared<Level>(std::move(file), std::move(facts), layout, bitmap_budget_bytes);
}

}  // namespace xenblk::vhd
