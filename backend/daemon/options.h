// Command line and configuration file of xenblkd.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "backend/backend.h"
#include "backend/daemon/confinement/confinement.h"
#include "xenblk/error.h"

namespace xenblk::daemon {

struct Options {
  backend::BackendOptions backend;
  ConfinementOptions confinement;
  std::string control_group;  // may use the control socket; empty: only root
  std::string metrics_file;   // empty: none
  bool xapi_statistics = false;
  std::string log_level = "info";  // as spdlog names it; in the foreground "debug"
  bool debug = false;              // in the foreground, verbose
};

// The program ends at once, with this text: --help, --version and --check-config of a good file
// (exit status 0), or wrong usage (2).
struct Farewell {
  int exit_status = 0;
  std::string text;
};

// The command line wins over the configuration file, which wins over the defaults. The default file
// is optional, one that was named is not. Errors: bad_spec with file, line and reason.
Expected<std::variant<Options, Farewell>> read_options(int argc, const char* const* argv);

inline constexpr const char* kDefaultConfig = "/etc/xenblk/xenblkd.toml";
inline constexpr const char* kDefaultJournals = "/run/xenblk/journal";

}  // namespace xenblk::daemon
