// Where images may lie. Pure but for what it asks the file system about paths; any thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "xenblk/error.h"

namespace xenblk::vhd {

class ImageRoots {
 public:
  // Beneath which images lie, links followed; a file or device may be named itself. Empty:
  // anywhere.
  explicit ImageRoots(const std::vector<std::string>& paths);

  // `path` lies there. Errors: permission, and what became of looking at it.
  Expected<void> check(const std::string& path) const;
  // The same of a file that is yet to be made.
  Expected<void> check_new(const std::string& path) const;

  // Of an error from opening `path`: Landlock shuts off what is mounted over a root, or made in
  // place of it, after it was told of the root. Then the text says so.
  Error explain(const std::string& path, Error error) const;

 private:
  struct Root {
    std::string path;
    dev_t device = 0;  // as it was at first; 0 when there was nothing
    ino_t inode = 0;
  };
  const Root* root_of(const std::string& real_path) const;

  std::vector<Root> roots_;
};

}  // namespace xenblk::vhd
