#include "vhd/image_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <limits>
#include <optional>

namespace xenblk::vhd {
namespace {

constexpr std::size_t kPathBytesMax = PATH_MAX - 1;
constexpr std::size_t kPrintableBytesMax = 80;

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

std::unexpected<Error> bad_spec(std::string_view why, std::string_view params) {
  return fail(Errc::bad_spec, "image '" + printable(params) + "': " + std::string(why));
}

std::optional<Format> format_of(std::string_view prefix) {
  if (prefix == "vhd") return Format::vhd;
  if (prefix == "raw" || prefix == "aio") return Format::raw;
  if (prefix == "null") return Format::null;
  return std::nullopt;
}

// The factor of a size's suffix; 1 without one.
std::optional<std::uint64_t> factor_of(std::string_view suffix) {
  if (suffix.empty()) return 1;
  constexpr std::string_view kSuffixes = "KMGT";
  const auto position = kSuffixes.find(suffix.front());
  if (suffix.size() != 1 || position == std::string_view::npos) return std::nullopt;
  return std::uint64_t{1} << (10 * (position + 1));
}

// A size in bytes; nothing when the text is no size or the size is no 64-bit number.
std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t number = 0;
  const auto* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) return std::nullopt;
  const auto factor = factor_of({rest, static_cast<std::size_t>(end - rest)});
  if (!factor || number > std::numeric_limits<std::uint64_t>::max() / *factor) return std::nullopt;
  return number * *factor;
}

Expected<ImageSpec> parse_null(std::string_view size, std::string_view params) {
  const auto bytes = parse_bytes(size);
  if (!bytes || *bytes < kSectorBytes) return bad_spec("not a size (like null:1G)", params);
  return ImageSpec{Format::null, {}, {*bytes / kSectorBytes}};
}

// Virtual PC before 2004 spread an image over .vhd, .v01 to .v63.
bool is_part_of_split_image(std::string_view path) {
  if (path.size() < 4) return false;
  const auto ending = path.substr(path.size() - 4);
  const auto digit = [&](std::size_t i) { return ending[i] >= '0' && ending[i] <= '9'; };
  return ending[0] == '.' && (ending[1] == 'v' || ending[1] == 'V') && digit(2) && digit(3);
}

Expected<ImageSpec> parse_path(Format format, std::string_view path, std::string_view params) {
  if (path.empty()) return bad_spec("no path", params);
  if (path.front() != '/') return bad_spec("the path is not absolute", params);
  if (path.size() > kPathBytesMax) return bad_spec("the path is too long", params);
  if (format == Format::vhd && is_part_of_split_image(path)) {
    return bad_spec("a part of a split image, which is not served", params);
  }
  return ImageSpec{format, std::string(path), {}};
}

}  // namespace

Expected<ImageSpec> parse_image_spec(std::string_view params) {
  if (params.empty()) return fail(Errc::bad_spec, "no image is named");
  if (std::ranges::any_of(params, is_control)) return bad_spec("a control character", params);
  if (params.front() == '/') return parse_path(Format::raw, params, params);
  const auto colon = params.find(':');
  if (colon == std::string_view::npos)
    return bad_spec("neither a format nor an absolute path", params);
  const auto format = format_of(params.substr(0, colon));
  if (!format) return bad_spec("unknown format (known: vhd, raw, aio, null)", params);
  const auto rest = params.substr(colon + 1);
  return *format == Format::null ? parse_null(rest, params) : parse_path(*format, rest, params);
}

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, kPrintableBytesMax));
  std::ranges::replace_if(shown, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text.size() > kPrintableBytesMax ? shown + "..." : shown;
}

}  // namespace xenblk::vhd
