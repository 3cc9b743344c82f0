// A file that appears all at once. Control path, blocking.
#pragma once

#include <functional>
#include <string>

#include "xenblk/io.h"

namespace xenblk::vhd {

// Fills a file under a name of its own in the same directory, makes it durable, and gives it
// `path`. After a power cut either the whole file is there under that name or none is. Refused: a
// path that is taken, before and after filling. The error of `fill` gets the path before it. On
// failure nothing is left behind.
Expected<void> make_new_file(const std::string& path,
                             const std::function<Expected<void>(File&)>& fill);

// What was made, renamed or removed in the directory of `path` is on stable storage afterwards.
Expected<void> sync_directory_of(const std::string& path);

}  // namespace xenblk::vhd
