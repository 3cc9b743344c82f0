// Which images of a directory are based on an image. Control path, blocking.
#pragma once

#include <string>
#include <vector>

#include "vhd/format/footer.h"

namespace xenblk::vhd {

struct ParentIdentity {
  Uuid uuid = {};    // all zeroes: a raw disk, which only its place tells from others
  std::string path;  // of a raw disk
};

// The paths of the differencing images in `directories`, none below them, that name `parent` as
// theirs, or a raw disk that is not there; sorted, without a file that `ignored` names. What cannot
// be read as one is passed over. An interrupted change of one of the files is undone first. Errors:
// a directory that cannot be read, a change that cannot be undone.
Expected<std::vector<std::string>> find_children(const ParentIdentity& parent,
                                                 const std::vector<std::string>& directories,
                                                 const std::string& ignored);

}  // namespace xenblk::vhd
