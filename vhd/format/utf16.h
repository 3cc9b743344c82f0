// Names in UTF-16, as the format stores them, and in UTF-8, as the host does. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xenblk::vhd {

enum class ByteOrder : std::uint8_t { big, little };

struct Utf8Text {
  std::string text;
  // Half a surrogate pair, or an odd byte at the end, became U+FFFD: fit to be shown, not to be
  // opened.
  bool lossy = false;
  friend bool operator==(const Utf8Text&, const Utf8Text&) = default;
};

// Up to the first NUL. A byte order mark decides the order and is not part of the text.
Utf8Text utf8_from_utf16(std::span<const std::byte> bytes, ByteOrder order);

// Without byte order mark and NUL. Nothing when `text` is not UTF-8.
std::optional<std::vector<std::byte>> utf16_from_utf8(std::string_view text, ByteOrder order);

}  // namespace xenblk::vhd
