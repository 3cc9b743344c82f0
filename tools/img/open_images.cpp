#include "tools/img/open_images.h"

#include <CLI/CLI.hpp>

namespace xenblk::img {

void add_chain_options(CLI::App& command, ChainOptions& options) {
  command.add_option("--image-directory", options.image_directories,
                     "Where parents may lie, beside the directory of the image; may be repeated");
  command.add_flag("--raw-parent", options.raw_parent,
                   "Allow a parent that is a raw image or a block device");
}

OpenImages::OpenImages(const ChainOptions&) {}

Expected<OpenImage> OpenImages::open(const vhd::ImageSpec& spec, Access access) {
  auto image = registry_.open(spec, access);
  if (!image) return std::unexpected(image.error());
  return OpenImage(registry_, std::move(*image));
}

}  // namespace xenblk::img
