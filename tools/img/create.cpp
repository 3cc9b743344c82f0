// xenblk-img create: new images, empty or with a parent.
#include <memory>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/image_name.h"
#include "tools/img/options.h"
#include "tools/img/sizes.h"
#include "tools/img/target_file.h"
#include "vhd/create.h"
#include "vhd/operations/snapshot.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  std::string size;
  std::string parent;
  TargetOptions target;
};

Expected<void> make_raw(const std::string& path, SectorCount size, Existing existing) {
  return make_target(path, existing, [&](File& file, auto) -> Expected<void> {
    return file.truncate(size.n * kSectorBytes);
  });
}

Expected<void> make_vhd(const std::string& path, const vhd::CreateOptions& create,
                        Existing existing) {
  return make_target(path, existing, [&](File& file, auto) {
    auto made = vhd::create_vhd(file, create);
    if (!made && made.error().os_error == 0) made.error().text = path + ": " + made.error().text;
    return made;
  });
}

Expected<void> create_empty(const Options& options, const vhd::ImageSpec& spec) {
  if (options.size.empty()) return wrong_usage("--size is missing");
  const auto size = parse_disk_size(options.size);
  if (!size) return std::unexpected(size.error());
  const auto block_bytes = options.target.block_bytes();
  if (!block_bytes) return std::unexpected(block_bytes.error());
  const auto existing = options.target.existing();
  if (spec.format == vhd::Format::raw) {
    if (options.target.describes_vhd()) {
      return wrong_usage("--type and --block-size are for VHDs, not for raw images");
    }
    return make_raw(spec.path, *size, existing);
  }
  vhd::CreateOptions create{.capacity = *size, .type = options.target.disk_type()};
  if (*block_bytes) create.block_bytes = **block_bytes;
  return make_vhd(spec.path, create, existing);
}

Expected<void> create_child(const Options& options, const vhd::ImageSpec& spec) {
  if (spec.format != vhd::Format::vhd) return wrong_usage("only a VHD can have a parent");
  if (!options.size.empty()) return wrong_usage("a child is as large as its parent: no --size");
  if (!options.target.type.empty()) return wrong_usage("a child is a differencing VHD: no --type");
  if (options.target.force) return wrong_usage("a child never replaces a file: no --force");
  const auto parent = parse_image_name(options.parent, BarePath::refused);
  if (!parent) return std::unexpected(parent.error());
  const auto block_bytes = options.target.block_bytes();
  if (!block_bytes) return std::unexpected(block_bytes.error());
  return vhd::make_snapshot(
      {.parent_path = parent->path, .child_path = spec.path, .block_bytes = *block_bytes},
      parent->format);
}

Outcome create(const Options& options) {
  const auto spec = parse_image_name(options.image, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const auto created =
      options.parent.empty() ? create_empty(options, *spec) : create_child(options, *spec);
  if (!created) return std::unexpected(created.error());
  return ExitStatus::good;
}

}  // namespace

void add_create(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "create", "Make a new image",
                              "  xenblk-img create vhd:/srv/disk.vhd --size 20G\n"
                              "  xenblk-img create vhd:/srv/child.vhd --parent vhd:/srv/disk.vhd");
  command.add_option("IMAGE", options->image, "vhd:PATH or raw:PATH")->required();
  command.add_option("--size", options->size, "Of the disk: bytes, or with K, M, G or T")
      ->option_text("SIZE");
  command
      .add_option("--parent", options->parent,
                  "vhd:PATH or raw:PATH: the image is a differencing VHD, a child of it")
      ->option_text("IMAGE");
  add_target_options(command, options->target);
  command.callback([options, &run] { run = [options] { return create(*options); }; });
}

}  // namespace xenblk::img
