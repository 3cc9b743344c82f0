// An image specification: what the toolstack writes as `params`, or an administrator on a command
// line. A pure function from text to value; nothing is opened and no content is looked at. A bare
// path is raw and is never probed: a guest can write a VHD header into a raw disk, and probing
// would let it name any file of the host as its parent.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::vhd {

enum class Format : std::uint8_t { raw, vhd, null };

struct ImageSpec {
  Format format = Format::raw;
  std::string path;       // absolute; empty for null
  SectorCount null_size;  // null only

  friend bool operator==(const ImageSpec&, const ImageSpec&) = default;
};

// Understands "vhd:/path", "raw:/path", "aio:/path" (= raw), "/path" (= raw) and "null:SIZE" where
// SIZE is bytes with an optional K, M, G or T (powers of 1024). Everything else is Errc::bad_spec.
Expected<ImageSpec> parse_image_spec(std::string_view params);

// `text` fit for a log line: shortened, and without anything a terminal would act on.
std::string printable(std::string_view text);

}  // namespace xenblk::vhd
