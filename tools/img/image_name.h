// An image as it is named on the command line. Pure, but for the current directory.
#pragma once

#include <string_view>

#include "vhd/image_spec.h"

namespace xenblk::img {

// What a path without a format means.
enum class BarePath : std::uint8_t {
  refused,  // the command works on several formats, and none is ever guessed
  vhd,      // the command works on VHDs only
};

// "vhd:PATH" or "raw:PATH"; relative paths are made absolute. Errc::refused: a bare path that means
// nothing, and a raw image where only VHDs make sense.
Expected<vhd::ImageSpec> parse_image_name(std::string_view name, BarePath bare_path);

}  // namespace xenblk::img
