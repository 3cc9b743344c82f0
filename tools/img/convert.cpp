// xenblk-img convert: the content of one image in another format, or through a pipe.
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/convert_stream.h"
#include "tools/img/convert_target.h"
#include "tools/img/copying.h"
#include "tools/img/drive.h"
#include "tools/img/image_name.h"
#include "tools/img/open_images.h"
#include "tools/img/options.h"
#include "tools/img/sizes.h"

namespace xenblk::img {
namespace {

struct Options {
  std::string source;
  std::string target;
  std::string size;
  TargetOptions made;
  ChainOptions chain;
  bool no_progress = false;
};

bool is_stream(const std::string& name) {
  return name == "-" || name == "raw:-" || name == "vhd:-";
}

bool is_block_device(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

// A raw stream unless the VHD is described.
Expected<void> image_to_stream(const Options& options) {
  const auto spec = parse_image_name(options.source, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const bool vhd = options.target == "vhd:-" || options.made.describes_vhd();
  if (vhd && options.target == "raw:-") return wrong_usage("--type and --block-size are for VHDs");
  const auto block_bytes = options.made.block_bytes();
  if (!block_bytes) return std::unexpected(block_bytes.error());
  OpenImages images(options.chain);
  const auto source = images.open(*spec, Access::read_only);
  if (!source) return std::unexpected(source.error());
  std::optional<vhd::CreateOptions> create;
  if (vhd) {
    create = {.capacity = (*source)->info().capacity, .type = options.made.disk_type()};
    if (*block_bytes) create->block_bytes = **block_bytes;
  }
  return write_stream(**source, spec->path, create, show_progress(options.no_progress));
}

// The target of a copy from an image or from standard input.
Expected<TargetPlan> plan_target(const Options& options) {
  const auto spec = parse_image_name(options.target, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const bool raw = spec->format == vhd::Format::raw;
  if (raw && options.made.describes_vhd()) {
    return wrong_usage("--type and --block-size are for VHDs, not for raw images");
  }
  const auto block_bytes = options.made.block_bytes();
  if (!block_bytes) return std::unexpected(block_bytes.error());
  return TargetPlan{
      .path = spec->path,
      .kind = raw ? TargetKind::raw
                  : (options.made.disk_type() == vhd::DiskType::fixed ? TargetKind::fixed
                                                                      : TargetKind::dynamic),
      .block_bytes = *block_bytes,
      .existing = options.made.existing(),
      .show = show_progress(options.no_progress)};
}

Expected<void> stream_to_image(const Options& options) {
  auto plan = plan_target(options);
  if (!plan) return std::unexpected(plan.error());
  // Nobody could say beforehand whether the stream is too long for it.
  if (plan->kind == TargetKind::raw && is_block_device(plan->path)) {
    return fail(Errc::refused, plan->path + ": is a block device; not overwritten from a pipe");
  }
  std::optional<SectorCount> size;
  if (!options.size.empty()) {
    const auto given = parse_disk_size(options.size);
    if (!given) return std::unexpected(given.error());
    size = *given;
  }
  return fill_from_stream(*plan, size);
}

Expected<void> image_to_image(const Options& options) {
  const auto spec = parse_image_name(options.source, BarePath::refused);
  if (!spec) return std::unexpected(spec.error());
  const auto plan = plan_target(options);
  if (!plan) return std::unexpected(plan.error());
  OpenImages images(options.chain);
  const auto source = images.open(*spec, Access::read_only);
  if (!source) return std::unexpected(source.error());
  if (plan->kind != TargetKind::raw || !is_block_device(plan->path)) {
    return fill_from_image(*plan, **source, spec->path);
  }
  if (!options.made.force) {
    return fail(Errc::refused, plan->path + ": is a block device; overwritten only with --force");
  }
  const auto target = images.open({vhd::Format::raw, plan->path, {}}, Access::read_write);
  if (!target) return std::unexpected(target.error());
  return overwrite(*plan, **target, **source, spec->path);
}

Outcome convert(const Options& options) {
  const bool from_stream = is_stream(options.source);
  const bool to_stream = is_stream(options.target);
  if (options.source == "vhd:-") return wrong_usage("a VHD cannot be read from a pipe");
  if (from_stream && to_stream) return wrong_usage("SOURCE and TARGET cannot both be a pipe");
  if (!from_stream && !options.size.empty()) {
    return wrong_usage("--size is only for a SOURCE that is a pipe");
  }
  const auto done = to_stream     ? image_to_stream(options)
                    : from_stream ? stream_to_image(options)
                                  : image_to_image(options);
  if (!done) return std::unexpected(done.error());
  return ExitStatus::good;
}

}  // namespace

void add_convert(CLI::App& program, Run& run) {
  auto options = std::make_shared<Options>();
  auto& command = add_command(
      program, "convert", "Copy an image into a new one, of another format or without parents",
      "  xenblk-img convert raw:/srv/disk.img vhd:/srv/disk.vhd\n"
      "  zstd -dc disk.img.zst | xenblk-img convert - vhd:/srv/disk.vhd\n"
      "  xenblk-img convert vhd:/srv/disk.vhd - --type dynamic | ssh host 'cat > disk.vhd'");
  command.add_option("SOURCE", options->source, "vhd:PATH, raw:PATH, or - for a raw stream")
      ->required();
  command
      .add_option("TARGET", options->target,
                  "vhd:PATH, raw:PATH, or - for a stream: raw, or with --type a VHD")
      ->required();
  command
      .add_option("--size", options->size,
                  "Of the disk, when SOURCE is a pipe: what is missing then is zeroes")
      ->option_text("SIZE");
  add_target_options(command, options->made);
  add_chain_options(command, options->chain);
  add_progress_option(command, options->no_progress);
  command.callback([options, &run] { run = [options] { return convert(*options); }; });
}

}  // namespace xenblk::img
