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
  bool debug = false;  // in the foreground, verbose
};

// The program ends at once, with this text: --help, --version (exit status 0) or wrong usage (2).
struct Farewell {
  int exit_status = 0;
  std::string text;
};

// The command line wins over the configuration file, which wins over the defaults. The default file
// is optional, one that was named is not. Errors: bad_spec with file, line and reason.
Expected<std::variant<Options, Farewell>> read_options(int argc, const char* const* argv);

inline constexpr const char* kDefaultConfig = "/etc/xenblk/xenblkd.toml";

}  // namespace xenblk::daemon
