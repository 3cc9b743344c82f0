// xenblk-img snapshot: an empty child, after which the parent is kept as it is.
#include "vhd/operations/snapshot.h"

#include <memory>

#include "tools/img/commands.h"
#include "tools/img/image_name.h"
#include "tools/img/options.h"
#include "tools/img/vhd_file.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string parent;
  std::string child;
  TargetOptions made;
};

Outcome snapshot(const Options& options) {
  const auto parent = parse_image_name(options.parent, BarePath::vhd);
  if (!parent) return std::unexpected(parent.error());
  const auto child = parse_image_name(options.child, BarePath::vhd);
  if (!child) return std::unexpected(child.error());
  const auto block_bytes = options.made.block_bytes();
  if (!block_bytes) return std::unexpected(block_bytes.error());
  const auto made = vhd::make_snapshot(
      {.parent_path = parent->path, .child_path = child->path, .block_bytes = *block_bytes},
      vhd::Format::vhd);
  if (!made) return std::unexpected(made.error());
  return ExitStatus::good;
}

}  // namespace

void add_snapshot(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(program, "snapshot", "Make an empty child of a VHD",
                              "  xenblk-img snapshot /srv/disk.vhd /srv/child.vhd");
  command.add_option("PARENT", options->parent, "vhd:PATH, or the path of a VHD")->required();
  command.add_option("CHILD", options->child, "vhd:PATH, or the path of the new VHD")->required();
  add_block_size_option(command, options->made);
  command.callback([options, &run] { run = [options] { return snapshot(*options); }; });
}

}  // namespace xenblk::img
