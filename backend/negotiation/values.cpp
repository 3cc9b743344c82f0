#include "backend/negotiation/values.h"

#include <charconv>

namespace xenblk::negotiation {

namespace {
constexpr std::size_t kLongestQuote = 40;
constexpr std::size_t kLongestU32 = 10;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_printable(char c) {
  return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}
}  // namespace

std::optional<std::uint32_t> parse_u32(std::string_view value) {
  // from_chars alone would accept "12abc" and stop; an empty value and a sign are refused here too.
  if (value.empty() || value.size() > kLongestU32) return {};
  for (const char c : value) {
    if (!is_digit(c)) return {};
  }
  std::uint32_t number = 0;
  const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (status != std::errc{}) return {};
  return number;
}

std::string quoted(std::string_view value) {
  std::string text = "\"";
  for (const char c : value.substr(0, kLongestQuote)) text += is_printable(c) ? c : '?';
  if (value.size() > kLongestQuote) text += "...";
  return text + "\"";
}

}  // namespace xenblk::negotiation
