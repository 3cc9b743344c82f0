// Which files the process can still get at: Landlock, for this thread and those that it starts.
#pragma once

#include <string>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::daemon {

// Each a file, or a directory with all beneath it, whenever that is made or mounted. What is not
// there counts for nothing. Files that are open already stay open.
struct FileView {
  std::vector<std::string> readable;
  std::vector<std::string> writable;  // read, written, and files made, renamed and removed
  std::vector<std::string> own;       // the same, and directories and sockets too
};

// False: this kernel has no Landlock. Errors: permission, io.
Expected<bool> limit_file_view(const FileView& view);

}  // namespace xenblk::daemon
