// What the program ends with; scripts depend on the numbers.
#pragma once

#include <cstdint>

#include "xenblk/error.h"

namespace xenblk::img {

enum class ExitStatus : std::uint8_t { good = 0, failed = 1, wrong_usage = 2, warnings = 3 };

// What a subcommand ends with: a status, or the line to say on stderr.
using Outcome = Expected<ExitStatus>;

// The command line makes no sense, whatever the images contain: ends with wrong_usage.
inline std::unexpected<Error> wrong_usage(std::string text) {
  return fail(Errc::bad_spec, std::move(text));
}

}  // namespace xenblk::img
