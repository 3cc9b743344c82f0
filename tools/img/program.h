// The command line as a whole: finds the subcommand, runs it, and says what went wrong.
#pragma once

#include "tools/img/exit_status.h"

namespace xenblk::img {

ExitStatus run_program(int argc, const char* const* argv);

}  // namespace xenblk::img
