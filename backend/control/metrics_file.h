// The metrics as a file that node_exporter's textfile collector reads: always a whole one.
#pragma once

#include <string>

#include "xenblk/error.h"

namespace xenblk::control {

// Writes beside `path` and renames. Blocks on the file. Errors: io, permission, no_space.
Expected<void> replace_file(const std::string& path, const std::string& text);

}  // namespace xenblk::control
