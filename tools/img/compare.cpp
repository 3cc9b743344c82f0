// xenblk-img compare: whether two images hold the same disk.
#include "vhd/operations/compare.h"

#include <memory>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/drive.h"
#include "tools/img/image_name.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/output.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string one;
  std::string other;
  bool strict = false;
  ChainOptions chain;
  bool no_progress = false;
};

Expected<vhd::FirstDifference> find_difference(Image& one, Image& other, const Options& options) {
  const InterruptGuard interrupts;
  const auto engine = make_engine();
  if (!engine) return std::unexpected(engine.error());
  ProgressBar bar("compared", show_progress(options.no_progress));
  vhd::CompareOptions compare;
  compare.names = {options.one, options.other};
  compare.on_progress = [&](const vhd::CompareProgress& progress) {
    bar.update({progress.done.n, progress.total.n, progress.read_bytes});
  };
  vhd::Compare operation(one, other, **engine, std::move(compare));
  run_to_end(**engine, operation, &interrupts, [] {});
  if (!operation.result() && interrupts.interrupted()) return interrupted();
  return operation.result();
}

Outcome compare(const Options& options) {
  const auto one_spec = parse_image_name(options.one, BarePath::refused);
  if (!one_spec) return std::unexpected(one_spec.error());
  const auto other_spec = parse_image_name(options.other, BarePath::refused);
  if (!other_spec) return std::unexpected(other_spec.error());
  OpenImages images(options.chain);
  const auto one = images.open(*one_spec, Access::read_only);
  if (!one) return std::unexpected(one.error());
  const auto other = images.open(*other_spec, Access::read_only);
  if (!other) return std::unexpected(other.error());
  const auto difference = find_difference(**one, **other, options);
  if (!difference) return std::unexpected(difference.error());
  if (*difference) {
    return fail(Errc::refused,
                fmt::format("{} and {} differ at byte {} (sector {})", options.one, options.other,
                            **difference, **difference / kSectorBytes));
  }
  const auto one_bytes = (*one)->info().capacity.n * kSectorBytes;
  const auto other_bytes = (*other)->info().capacity.n * kSectorBytes;
  if (one_bytes == other_bytes) {
    print("the same content\n");
    return ExitStatus::good;
  }
  const auto sizes = fmt::format("{} has {} bytes and {} has {}", options.one, one_bytes,
                                 options.other, other_bytes);
  if (options.strict) return fail(Errc::refused, sizes);
  print("the same content, but {}; what only one has is zeroes\n", sizes);
  return ExitStatus::good;
}

}  // namespace

void add_compare(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command =
      add_command(program, "compare", "Find the first difference between two images",
                  "  xenblk-img compare raw:/srv/disk.img vhd:/srv/disk.vhd && echo the same");
  command.add_option("ONE", options->one, "vhd:PATH or raw:PATH")->required();
  command.add_option("OTHER", options->other, "vhd:PATH or raw:PATH")->required();
  command.add_flag("--strict", options->strict,
                   "Disks of different sizes differ, even where only zeroes are missing");
  add_chain_options(command, options->chain);
  add_progress_option(command, options->no_progress);
  command.callback([options, &run] { run = [options] { return compare(*options); }; });
}

}  // namespace xenblk::img
