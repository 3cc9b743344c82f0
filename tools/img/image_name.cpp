#include "tools/img/image_name.h"

#include <filesystem>
#include <string>

#include <fmt/format.h>

namespace xenblk::img {
namespace {

constexpr std::string_view kFormats[] = {"vhd:", "raw:", "aio:", "null:"};

// The length of the format's name and its colon; 0 for a bare path.
std::size_t prefix_length(std::string_view name) {
  for (const auto prefix : kFormats) {
    if (name.starts_with(prefix)) return prefix.size();
  }
  return 0;
}

std::string absolute(std::string_view path) {
  if (path.empty() || path.front() == '/') return std::string(path);
  std::error_code error;
  const auto full = std::filesystem::absolute(path, error);
  return error ? std::string(path) : full.string();
}

}  // namespace

Expected<vhd::ImageSpec> parse_image_name(std::string_view name, BarePath bare_path) {
  const auto length = prefix_length(name);
  if (length == 0 && bare_path == BarePath::refused) {
    const auto shown = vhd::printable(name);
    return fail(Errc::refused, fmt::format("image '{}': say vhd:{} or raw:{}; the format is never "
                                           "guessed",
                                           shown, shown, shown));
  }
  const auto prefix = length == 0 ? "vhd:" : name.substr(0, length);
  const auto path = name.substr(length);
  if (prefix == "null:") {
    return fail(Errc::refused,
                fmt::format("image '{}': a null image has no file", vhd::printable(name)));
  }
  auto spec = vhd::parse_image_spec(std::string(prefix) + absolute(path));
  if (spec && bare_path == BarePath::vhd && spec->format != vhd::Format::vhd) {
    return fail(Errc::refused,
                fmt::format("image '{}': only VHDs can be given here", vhd::printable(name)));
  }
  return spec;
}

}  // namespace xenblk::img
