#include "tools/img/options.h"

#include <limits>

#include <fmt/format.h>

#include "tools/img/sizes.h"

namespace xenblk::img {

Expected<std::optional<std::uint32_t>> TargetOptions::block_bytes() const {
  if (block_size.empty()) return std::optional<std::uint32_t>{};
  if (type == "fixed") return fail(Errc::bad_spec, "a fixed VHD has no blocks: no --block-size");
  const auto bytes = parse_size(block_size);
  if (!bytes) return std::unexpected(bytes.error());
  // What is too large for the format is refused by it, with its limits.
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(*bytes, std::numeric_limits<std::uint32_t>::max()));
}

void add_block_size_option(CLI::App& command, TargetOptions& options) {
  command
      .add_option("--block-size", options.block_size,
                  "Of a VHD with blocks: a power of two from 4K to 256M; other programs read 512K "
                  "and 2M best")
      ->option_text("SIZE");
}

void add_target_options(CLI::App& command, TargetOptions& options) {
  command.add_option("--type", options.type, "Of a VHD: dynamic (grows as it is written) or fixed")
      ->check(CLI::IsMember({"dynamic", "fixed"}))
      ->option_text("TYPE [dynamic]");
  add_block_size_option(command, options);
  command.add_flag("--force", options.force,
                   "Replace a file that exists, once the new one is done");
}

void add_progress_option(CLI::App& command, bool& no_progress) {
  command.add_flag("--no-progress", no_progress, "No progress bar, on a terminal either");
}

CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& about,
                      const std::string& example) {
  auto& command = *program.add_subcommand(name, about);
  command.set_help_flag("-h,--help", "Show this help");
  command.footer("Example:\n" + example);
  return command;
}

}  // namespace xenblk::img
