// A snapshot of a running disk goes on in a child; its guest's configuration may still name the
// image that is now the parent. A note beside the parent says so, and keeps the parent from being
// written, which would make the child worthless. It counts only as long as that child is there and
// is one of this parent, so it needs no cleaning up: who wants to go back to the snapshot removes
// the child. Control path, blocking.
#pragma once

#include <optional>
#include <string>

#include "xenblk/error.h"
#include "xenblk/io.h"

namespace xenblk::vhd {

// On stable storage when it returns; an earlier note is replaced.
Expected<void> note_successor(const std::string& parent_path, const std::string& child_path);

// The note goes from stable storage: the parent may be written again. Gives what it said.
Expected<std::optional<std::string>> take_successor_note(const std::string& parent_path);

// The child in which the disk of the image at `path`, which `file` is, goes on. Whatever else is
// wrong with the note is as if there were none.
std::optional<std::string> successor_of(File& file, const std::string& path);

}  // namespace xenblk::vhd
