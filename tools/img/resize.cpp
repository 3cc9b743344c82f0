// xenblk-img resize: a larger disk, or a smaller one where that loses nothing.
#include "vhd/operations/resize.h"

#include <memory>

#include "tools/img/commands.h"
#include "tools/img/options.h"
#include "tools/img/sizes.h"
#include "tools/img/vhd_file.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string image;
  std::string size;
};

Expected<void> resize_file(VhdFile& image, SectorCount size) {
  vhd::MetadataFile journal(vhd::resize_journal_path(image.path));
  if (auto ready = vhd::recover_resize(*image.file, journal); !ready) {
    return std::unexpected(ready.error());
  }
  auto resized = vhd::resize_image(*image.file, size, journal);
  if (resized) return resized;
  // What it has changed is put back; where that fails too, the next use of the image does it.
  static_cast<void>(vhd::recover_resize(*image.file, journal));
  return resized;
}

Outcome resize(const Options& options) {
  const auto size = parse_disk_size(options.size);
  if (!size) return std::unexpected(size.error());
  auto image = open_vhd_file(options.image, Access::read_write);
  if (!image) return std::unexpected(image.error());
  const auto resized = resize_file(*image, *size);
  if (!resized) return std::unexpected(named(image->path, resized.error()));
  return ExitStatus::good;
}

}  // namespace

void add_resize(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "resize", "Change the size of a disk",
                              "  xenblk-img resize /srv/disk.vhd 40G");
  command.add_option("IMAGE", options->image, "vhd:PATH, or the path of a VHD")->required();
  command
      .add_option("SIZE", options->size,
                  "Of the disk: bytes, or with K, M, G or T; smaller only where nothing is lost")
      ->required();
  command.callback([options, &run] { run = [options] { return resize(*options); }; });
}

}  // namespace xenblk::img
