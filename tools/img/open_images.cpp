#include "tools/img/open_images.h"

#include <CLI/CLI.hpp>

#include "tools/img/vhd_file.h"

namespace xenblk::img {

void add_chain_options(CLI::App& command, ChainOptions& options) {
  command.add_option("--image-directory", options.image_directories,
                     "Where parents may lie, beside the directory of the image; may be repeated");
  command.add_flag("--raw-parent", options.raw_parent,
                   "Allow a parent that is a raw image or a block device");
}

vhd::ParentPolicy parent_policy(const ChainOptions& options) {
  return {.directories = options.image_directories, .raw_parents = options.raw_parent};
}

Expected<vhd::Levels> open_parents(const std::string& path, const vhd::VhdLayout& layout,
                                   const ChainOptions& options) {
  vhd::ParentSearch search(parent_policy(options),
                           [](const vhd::FileIdentity&) { return std::nullopt; });
  return search.open(path, vhd::parent_reference(layout));
}

vhd::CheckOptions check_options(const std::string& path, const ChainOptions& options) {
  vhd::CheckOptions check;
  check.find_parent = [path, options](const vhd::VhdLayout& child) -> Expected<vhd::Uuid> {
    const auto levels = open_parents(path, child, options);
    if (!levels) return std::unexpected(levels.error());
    return levels->front()->facts().uuid.value_or(vhd::Uuid{});
  };
  return check;
}

OpenImages::OpenImages(const ChainOptions& options)
    : registry_(
          {.image_directories = options.image_directories, .raw_parents = options.raw_parent}) {}

Expected<OpenImage> OpenImages::open(const vhd::ImageSpec& spec, Access access) {
  auto image = registry_.open(spec, access);
  if (!image) return std::unexpected(refusal(image.error()));
  return OpenImage(registry_, std::move(*image));
}

}  // namespace xenblk::img
