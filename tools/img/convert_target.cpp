#include "tools/img/convert_target.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "tools/img/copying.h"
#include "tools/img/drive.h"
#include "vhd/create.h"
#include "vhd/flat_image.h"
#include "vhd/open_vhd.h"

namespace xenblk::img {
namespace {

// The largest file there is on Linux, less what a VHD adds.
constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 62;
// As many blocks as the largest dynamic disk has in blocks of 2 MiB.
constexpr std::uint64_t kBlocksMax = vhd::kDynamicBytesMax / (2U << 20);

vhd::CreateOptions create_options(const TargetPlan& plan, SectorCount size) {
  vhd::CreateOptions create{.capacity = size};
  create.type = plan.kind == TargetKind::fixed ? vhd::DiskType::fixed : vhd::DiskType::dynamic;
  if (plan.block_bytes) create.block_bytes = *plan.block_bytes;
  return create;
}

Expected<void> named(const std::string& path, Expected<void> result) {
  if (!result && !result.error().text.starts_with('/')) {
    result.error().text = path + ": " + result.error().text;
  }
  return result;
}

// The data of a raw image or a fixed VHD is the file from its start; what follows is known last.
Expected<void> fill_flat(const TargetPlan& plan, TargetSize size, File& file,
                         std::unique_ptr<File> image_file, const CopyInto& copy) {
  vhd::FlatImage image(std::move(image_file),
                       {.format = "new", .capacity = size.sectors, .access = Access::read_write});
  const auto sectors = copy(image);
  if (!sectors) return std::unexpected(sectors.error());
  if (sectors->n == 0) return fail(Errc::refused, plan.path + ": a disk of no size");
  if (plan.kind == TargetKind::raw) return file.truncate(sectors->n * kSectorBytes);
  return named(plan.path, vhd::create_vhd(file, create_options(plan, *sectors)));
}

// Makes a dynamic VHD that was made as large as possible as small as its content. Its table keeps
// its place; what is behind its end becomes a gap.
Expected<void> shrink(File& file, SectorCount size) {
  auto footers = vhd::read_footers(file);
  if (!footers) return std::unexpected(footers.error());
  auto footer = footers->chosen;
  const auto end_offset = footers->end_offset;
  const auto layout = vhd::read_vhd_layout(file, std::move(*footers));
  if (!layout) return std::unexpected(layout.error());
  auto header = layout->header;
  const auto bytes = size.n * kSectorBytes;
  header.entries_max = static_cast<std::uint32_t>(vhd::divide_up(bytes, header.block_bytes));
  footer.original_bytes = footer.current_bytes = bytes;
  footer.geometry = vhd::geometry_for(size);
  const auto footer_bytes = vhd::write_footer(footer);
  if (auto ok = file.write_at(end_offset, footer_bytes); !ok) return ok;
  if (auto ok = file.write_at(0, footer_bytes); !ok) return ok;
  if (auto ok = file.write_at(footer.data_offset, vhd::write_dynamic_header(header)); !ok) {
    return ok;
  }
  const auto table_end = [&](std::uint64_t entries, std::uint64_t unit) {
    return vhd::round_up(header.table_offset + entries * sizeof(std::uint32_t), unit);
  };
  const auto end = table_end(header.entries_max, kPageBytes);
  const auto old_end = table_end(layout->header.entries_max, kSectorBytes);
  return end < old_end ? file.punch_hole(end, old_end - end) : Expected<void>{};
}

Expected<void> fill_dynamic(const TargetPlan& plan, TargetSize size, File& file,
                            std::unique_ptr<File> image_file, const CopyInto& copy) {
  if (auto ok = vhd::create_vhd(file, create_options(plan, size.sectors)); !ok) {
    return named(plan.path, ok);
  }
  auto image = vhd::open_vhd_image(std::move(image_file), kPageBytes);
  if (!image) return named(plan.path, std::unexpected(image.error()));
  const auto sectors = copy(**image);
  auto finished = (*image)->finish();
  if (!sectors) return std::unexpected(sectors.error());
  if (!finished) return named(plan.path, finished);
  image->reset();
  if (size.known) return {};
  if (sectors->n == 0) return fail(Errc::refused, plan.path + ": a disk of no size");
  return named(plan.path, shrink(file, *sectors));
}

}  // namespace

TargetSize largest_target(const TargetPlan& plan) {
  if (plan.kind != TargetKind::dynamic) return {{kFileBytesMax / kSectorBytes}, false};
  const auto block_bytes = create_options(plan, {}).block_bytes;
  return {{std::min(vhd::kDynamicBytesMax, kBlocksMax * block_bytes) / kSectorBytes}, false};
}

Expected<void> make_and_fill(const TargetPlan& plan, TargetSize size, const CopyInto& copy) {
  return make_target(plan.path, plan.existing, [&](File& file, std::unique_ptr<File> own) {
    return plan.kind == TargetKind::dynamic ? fill_dynamic(plan, size, file, std::move(own), copy)
                                            : fill_flat(plan, size, file, std::move(own), copy);
  });
}

Expected<void> fill_from_image(const TargetPlan& plan, Image& source,
                               const std::string& source_name) {
  const InterruptGuard interrupts;
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  const auto size = source.info().capacity;
  return make_and_fill(plan, {size}, [&](Image& target) -> Expected<SectorCount> {
    auto copied = copy_all({.source = source,
                            .target = target,
                            .engine = **engine,
                            .source_name = source_name,
                            .target_name = plan.path,
                            .show = plan.show,
                            .interrupts = &interrupts});
    if (!copied) return std::unexpected(copied.error());
    return size;
  });
}

Expected<void> overwrite(const TargetPlan& plan, Image& target, Image& source,
                         const std::string& source_name) {
  const InterruptGuard interrupts;
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  return copy_all({.source = source,
                   .target = target,
                   .engine = **engine,
                   .target_content = vhd::TargetContent::unknown,
                   .source_name = source_name,
                   .target_name = plan.path,
                   .show = plan.show,
                   .interrupts = &interrupts});
}

}  // namespace xenblk::img
