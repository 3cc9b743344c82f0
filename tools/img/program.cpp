#include "tools/img/program.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <sstream>

#include <fmt/format.h>

#include "tools/img/commands.h"
#include "tools/img/output.h"
#include "vhd/image_spec.h"

namespace xenblk::img {
namespace {

constexpr const char* kAbout =
    "Makes, looks into, checks, converts and changes disk images.\n\n"
    "An image is named vhd:PATH or raw:PATH, as in the configuration of a guest. A path alone\n"
    "means a VHD where the command works on VHDs only. No image is ever probed for its format.";

void add_commands(CLI::App& program, Run& run) {
  add_create(program, run);
  add_info(program, run);
  add_map(program, run);
  add_check(program, run);
  add_repair(program, run);
  add_convert(program, run);
  add_compare(program, run);
  add_snapshot(program, run);
  add_coalesce(program, run);
  add_resize(program, run);
  add_export(program, run);
}

bool is_command(const CLI::App& program, const std::string& name) {
  return !program.get_subcommands([&](const CLI::App* one) { return one->get_name() == name; })
              .empty();
}

// The subcommand that was named, for the hint; none when that was what went wrong.
std::string hint(const CLI::App& program) {
  const auto named = program.get_subcommands();
  return named.empty() ? "xenblk-img --help"
                       : fmt::format("xenblk-img {} --help", named.front()->get_name());
}

ExitStatus say(ExitStatus status, const std::string& line) {
  write_message(fmt::format("xenblk-img: {}\n", line));
  return status;
}

// Once all that was said on standard output is there.
ExitStatus end_with(ExitStatus status) {
  const auto flushed = flush_output();
  return flushed ? status : say(ExitStatus::failed, describe(flushed.error()));
}

ExitStatus explain(const CLI::App& program, const CLI::ParseError& error) {
  std::ostringstream out;
  std::ostringstream ignored;
  if (program.exit(error, out, ignored) != 0) {
    return say(ExitStatus::wrong_usage, fmt::format("{} (see {})", error.what(), hint(program)));
  }
  write_output(out.str());
  return end_with(ExitStatus::good);
}

ExitStatus explain(const CLI::App& program, const Error& error) {
  if (error.code != Errc::bad_spec) return say(ExitStatus::failed, describe(error));
  return say(ExitStatus::wrong_usage, fmt::format("{} (see {})", describe(error), hint(program)));
}

}  // namespace

ExitStatus run_program(int argc, const char* const* argv) {
  // Whoever reads our output may leave; that is then an error of writing, with a line that says so.
  std::signal(SIGPIPE, SIG_IGN);
  Run run;
  CLI::App program(kAbout, "xenblk-img");
  program.set_help_flag("-h,--help", "Show this help");
  program.set_version_flag("-V,--version", "xenblk-img " XENBLK_VERSION);
  program.require_subcommand(1);
  program.footer(
      "Exit status: 0 good, 1 refused or broken, 2 wrong usage, 3 good with warnings.\n"
      "More: man xenblk-img");
  add_commands(program, run);
  if (argc > 1 && argv[1][0] != '-' && !is_command(program, argv[1])) {
    return explain(program, wrong_usage("no such command: " + vhd::printable(argv[1])).error());
  }
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(program, error);
  }
  const auto outcome = run();
  return outcome ? end_with(*outcome) : explain(program, outcome.error());
}

}  // namespace xenblk::img
