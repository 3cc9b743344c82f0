// Options that several subcommands have.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "tools/img/progress.h"
#include "tools/img/target_file.h"
#include "vhd/format/footer.h"

namespace xenblk::img {

// The image that a command makes.
struct TargetOptions {
  std::string type;        // empty: dynamic
  std::string block_size;  // empty: 2M
  bool force = false;

  Existing existing() const { return force ? Existing::replaced : Existing::refused; }
  bool describes_vhd() const { return !type.empty() || !block_size.empty(); }
  vhd::DiskType disk_type() const {
    return type == "fixed" ? vhd::DiskType::fixed : vhd::DiskType::dynamic;
  }
  // Nothing: not given.
  Expected<std::optional<std::uint32_t>> block_bytes() const;
};

void add_block_size_option(CLI::App& command, TargetOptions& options);
// --type, --block-size, --force.
void add_target_options(CLI::App& command, TargetOptions& options);
void add_progress_option(CLI::App& command, bool& no_progress);

inline ShowProgress show_progress(bool no_progress) {
  return no_progress ? ShowProgress::never : ShowProgress::on_terminal;
}

// A subcommand with its help, which ends with an example.
CLI::App& add_command(CLI::App& program, const std::string& name, const std::string& about,
                      const std::string& example);

}  // namespace xenblk::img
