#include "vhd/format/utf16.h"

#include "vhd/format/bytes.h"

namespace xenblk::vhd {
namespace {

constexpr char32_t kReplacement = 0xfffd;
constexpr char32_t kByteOrderMark = 0xfeff;
constexpr char32_t kSwappedMark = 0xfffe;
constexpr char32_t kSupplementary = 0x10000;

bool is_high_surrogate(char32_t unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}
bool is_low_surrogate(char32_t unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}

char32_t unit_at(std::span<const std::byte> bytes, std::size_t index, ByteOrder order) {
  const auto first = std::to_integer<char32_t>(bytes[2 * index]);
  const auto second = std::to_integer<char32_t>(bytes[2 * index + 1]);
  return order == ByteOrder::big ? first << 8 | second : second << 8 | first;
}

ByteOrder swapped(ByteOrder order) {
  return order == ByteOrder::big ? ByteOrder::little : ByteOrder::big;
}

void append_utf8(std::string& text, char32_t point) {
  const auto continuation = [&](unsigned shift) {
    text += static_cast<char>(0x80 | (point >> shift & 0x3f));
  };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xc0 | point >> 6);
    continuation(0);
  } else if (point < kSupplementary) {
    text += static_cast<char>(0xe0 | point >> 12);
    continuation(6);
    continuation(0);
  } else {
    text += static_cast<char>(0xf0 | point >> 18);
    continuation(12);
    continuation(6);
    continuation(0);
  }
}

void append_unit(std::vector<std::byte>& bytes, char32_t unit, ByteOrder order) {
  const auto high = static_cast<std::byte>(unit >> 8);
  const auto low = static_cast<std::byte>(unit & 0xff);
  bytes.push_back(order == ByteOrder::big ? high : low);
  bytes.push_back(order == ByteOrder::big ? low : high);
}

// How many bytes follow a lead byte, and the smallest character that needs them.
struct Lead {
  char32_t bits;
  unsigned following;
  char32_t smallest;
};

std::optional<Lead> lead_of(unsigned char byte) {
  if (byte < 0x80) return Lead{byte, 0, 0};
  if (byte >= 0xc2 && byte < 0xe0) return Lead{byte & 0x1fU, 1, 0x80};
  if (byte >= 0xe0 && byte < 0xf0) return Lead{byte & 0x0fU, 2, 0x800};
  if (byte >= 0xf0 && byte < 0xf5) return Lead{byte & 0x07U, 3, kSupplementary};
  return std::nullopt;
}

// Takes one character off the front of `text`; nothing when there is none that is well-formed.
std::optional<char32_t> take_character(std::string_view& text) {
  const auto lead = lead_of(static_cast<unsigned char>(text.front()));
  if (!lead || text.size() <= lead->following) return std::nullopt;
  auto point = lead->bits;
  for (std::size_t i = 1; i <= lead->following; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0U) != 0x80) return std::nullopt;
    point = point << 6 | (byte & 0x3fU);
  }
  const bool surrogate = is_high_surrogate(point) || is_low_surrogate(point);
  if (point < lead->smallest || point > 0x10ffff || surrogate) return std::nullopt;
  text.remove_prefix(1 + lead->following);
  return point;
}

}  // namespace

Utf8Text utf8_from_utf16(std::span<const std::byte> bytes, ByteOrder order) {
  Utf8Text result;
  const auto units = bytes.size() / 2;
  std::size_t i = 0;
  if (units > 0) {
    const auto first = unit_at(bytes, 0, order);
    if (first == kSwappedMark) order = swapped(order);
    if (first == kSwappedMark || first == kByteOrderMark) ++i;
  }
  for (; i < units; ++i) {
    auto point = unit_at(bytes, i, order);
    if (point == 0) return result;
    if (is_high_surrogate(point) && i + 1 < units &&
        is_low_surrogate(unit_at(bytes, i + 1, order))) {
      point = kSupplementary + ((point - 0xd800) << 10) + (unit_at(bytes, ++i, order) - 0xdc00);
    } else if (is_high_surrogate(point) || is_low_surrogate(point)) {
      point = kReplacement;
      result.lossy = true;
    }
    append_utf8(result.text, point);
  }
  if (bytes.size() % 2 == 0) return result;
  append_utf8(result.text, kReplacement);
  result.lossy = true;
  return result;
}

std::optional<std::vector<std::byte>> utf16_from_utf8(std::string_view text, ByteOrder order) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() * 2);
  while (!text.empty()) {
    const auto point = take_character(text);
    if (!point) return std::nullopt;
    if (*point < kSupplementary) {
      append_unit(bytes, *point, order);
    } else {
      append_unit(bytes, 0xd800 + ((*point - kSupplementary) >> 10), order);
      append_unit(bytes, 0xdc00 + ((*point - kSupplementary) & 0x3ff), order);
    }
  }
  return bytes;
}

}  // namespace xenblk::vhd
