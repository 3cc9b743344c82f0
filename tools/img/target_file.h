// The file of a new image, for filling through an engine: it appears under its name when it is
// complete, and is gone when it is not. Control path, blocking.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "xenblk/error.h"
#include "xenblk/io.h"

namespace xenblk::img {

enum class Existing : std::uint8_t {
  refused,
  replaced,  // once the new one is complete; only a regular file
};

// Gets the file, and once more the same file for an image that wants to own one; neither may be
// kept when it returns. Its errors are passed on as they are.
using Fill = std::function<Expected<void>(File& file, std::unique_ptr<File> own)>;

// An existing file is refused before `fill` is called.
Expected<void> make_target(const std::string& path, Existing existing, const Fill& fill);

}  // namespace xenblk::img
