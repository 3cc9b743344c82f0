// Several images in memory, each but the first based on one before it.
#pragma once

#include <deque>

#include "tests/fuzz/recipe.h"
#include "vhd/open_vhd.h"

namespace xenblk::fuzz {

// File n has the name name_of_level(n). The last one is opened.
using Files = std::deque<MemoryContent>;

// From one image to four. What is built is what the last one shows.
Built build_chain(Reader& reader, Files& files);

// As ParentSearch does it for files of the host: by the names that the image has for its parent,
// and then by the parent's id. Only files before it are its parents, so there is no circle.
Expected<std::unique_ptr<Image>> open_chain(Files& files, Access access,
                                            const vhd::VhdTuning& tuning);

struct FoundParent {
  unsigned number = 0;  // of the file
  std::shared_ptr<vhd::Level> level;
};
Expected<FoundParent> find_parent(Files& files, unsigned child,
                                  const vhd::ParentReference& reference);

// The last image without what is below it.
Expected<std::unique_ptr<Image>> open_alone(Files& files);

}  // namespace xenblk::fuzz
