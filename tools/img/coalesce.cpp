// xenblk-img coalesce: merges a child into its parent.
#include "vhd/operations/coalesce.h"

#include <memory>

#include "tools/img/commands.h"
#include "tools/img/copying.h"
#include "tools/img/drive.h"
#include "tools/img/image_name.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/vhd_file.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string child;
  ChainOptions chain;
  bool no_progress = false;
};

Outcome coalesce(const Options& options) {
  const auto child = parse_image_name(options.child, BarePath::vhd);
  if (!child) return std::unexpected(child.error());
  const InterruptGuard interrupts;
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  const auto merged =
      vhd::coalesce_host_image(child->path, parent_policy(options.chain),
                               [&](Image& layer, Image& parent, const std::string& parent_path) {
                                 return copy_all({.source = layer,
                                                  .target = parent,
                                                  .engine = **engine,
                                                  .target_content = vhd::TargetContent::parent,
                                                  .source_name = child->path,
                                                  .target_name = parent_path,
                                                  .show = show_progress(options.no_progress),
                                                  .interrupts = &interrupts});
                               });
  if (!merged) return std::unexpected(refusal(merged.error()));
  return ExitStatus::good;
}

}  // namespace

void add_coalesce(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command =
      add_command(program, "coalesce", "Merge a child into its parent, and remove the child",
                  "  xenblk-img coalesce /srv/child.vhd");
  command.add_option("CHILD", options->child, "vhd:PATH, or the path of a VHD")->required();
  add_chain_options(command, options->chain);
  add_progress_option(command, options->no_progress);
  command.callback([options, &run] { run = [options] { return coalesce(*options); }; });
}

}  // namespace xenblk::img
