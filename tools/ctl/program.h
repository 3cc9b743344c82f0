// The command line of xenblkctl.
#pragma once

#include <cstdint>

namespace xenblk::ctl {

enum class ExitStatus : std::uint8_t { good = 0, failed = 1, wrong_usage = 2 };

// Prints what the command gives, or one line on stderr that says what is wrong.
ExitStatus run_program(int argc, const char* const* argv);

}  // namespace xenblk::ctl
