// Values of XenStore nodes. Everything here may have been written by a guest: numbers are parsed
// strictly, and text is made harmless before anybody sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xenblk::negotiation {

// An unsigned decimal number: digits only, no sign, no blanks, at most 10 of them, and it must fit
// (blkif.h: all numbers in XenStore are decimal strings).
std::optional<std::uint32_t> parse_u32(std::string_view value);

// The value in quotes, cut after 40 bytes, with everything but printable ASCII replaced: fit for a
// log line and for an `error` node, whatever it was.
std::string quoted(std::string_view value);

}  // namespace xenblk::negotiation
