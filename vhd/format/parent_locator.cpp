#include "vhd/format/parent_locator.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "vhd/format/utf16.h"

namespace xenblk::vhd {
namespace {

constexpr std::string_view kUrlScheme = "file://";
constexpr std::string_view kUrlHost = "localhost";

std::string with_slashes(std::string path) {
  std::ranges::replace(path, '\\', '/');
  return path;
}

std::string_view without_drive(std::string_view path) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (path.size() >= 2 && path[1] == ':' && letter(path[0])) path.remove_prefix(2);
  return path;
}

std::string_view base_name(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// An escape that is none stays as it is: blktap writes URLs without escaping.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
                        hex_value(text[i + 2]) >= 0;
    if (!escape) {
      decoded += text[i];
      continue;
    }
    decoded += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
    i += 2;
  }
  return decoded;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "-._~/!$&'()*+,;=:@";
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.contains(c)) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kDigits[byte >> 4];
    encoded += kDigits[byte & 0xf];
  }
  return encoded;
}

// "file://HOST/path" is an absolute path; blktap's "file://./path" a relative one.
Expected<std::string> path_of_url(std::span<const std::byte> bytes) {
  std::string_view url(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  url = url.substr(0, url.find('\0'));
  if (!url.starts_with(kUrlScheme)) return fail(Errc::bad_image, "not a file URL");
  url.remove_prefix(kUrlScheme.size());
  if (url.starts_with(kUrlHost)) url.remove_prefix(kUrlHost.size());
  if (!url.starts_with('/') && !url.starts_with('.')) {
    return fail(Errc::bad_image, "a URL of another host");
  }
  auto path = percent_decoded(url);
  if (path.contains('\0')) return fail(Errc::bad_image, "a NUL within the path");
  return path;
}

Expected<std::string> path_of_utf16(std::span<const std::byte> bytes) {
  if (bytes.size() % 2 != 0) {
    return fail(Errc::bad_image, fmt::format("data length {} is odd", bytes.size()));
  }
  const auto decoded = utf8_from_utf16(bytes, ByteOrder::little);
  if (decoded.lossy) return fail(Errc::bad_image, "half a surrogate pair in the path");
  const auto path = with_slashes(decoded.text);
  return std::string(without_drive(path));
}

class PathCollector {
 public:
  explicit PathCollector(std::span<const LocatorData> locators) : locators_(locators) {}

  void add_locators(std::uint32_t code, PathOrigin origin) {
    for (const auto& locator : locators_) {
      if (locator.code != code) continue;
      auto path = code == kLocatorUrl ? path_of_url(locator.bytes) : path_of_utf16(locator.bytes);
      if (!path) {
        warn(fmt::format("parent locator {}", locator.slot), path.error().text);
      } else {
        add(*path, origin, fmt::format("parent locator {}", locator.slot));
      }
    }
  }

  void add_name(std::span<const std::byte> name) {
    if (name[0] == std::byte{0} && name[1] == std::byte{0}) return;
    const auto decoded = utf8_from_utf16(name, ByteOrder::big);
    if (decoded.lossy) return warn("parent name", "half a surrogate pair in it");
    const auto path = with_slashes(decoded.text);
    add(without_drive(path), PathOrigin::name, "parent name");
  }

  ParentPaths take() { return std::move(paths_); }

 private:
  void warn(std::string_view what, std::string_view why) {
    paths_.warnings.push_back(fmt::format("{}: {}; ignored", what, why));
  }

  void add(std::string_view path, PathOrigin origin, std::string_view what) {
    if (origin == PathOrigin::name || origin == PathOrigin::absolute) path = base_name(path);
    while (path.starts_with("./")) path.remove_prefix(2);
    const auto file = base_name(path);
    if (file.empty() || file == "." || file == "..") return warn(what, "names no file");
    const auto same = [&](const ParentPath& other) { return other.path == path; };
    if (std::ranges::any_of(paths_.candidates, same)) return;
    paths_.candidates.push_back({std::string(path), origin});
  }

  std::span<const LocatorData> locators_;
  ParentPaths paths_;
};

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string windows_relative(std::string path) {
  if (!path.starts_with("../")) path.insert(0, "./");
  std::ranges::replace(path, '/', '\\');
  return path;
}

std::string windows_absolute(std::string path) {
  std::ranges::replace(path, '/', '\\');
  return "C:" + path;
}

Expected<void> check_place(const ParentPlace& place) {
  const auto& path = place.relative_path;
  if (base_name(path).empty()) return fail(Errc::bad_spec, "the parent has no name");
  if (path.contains('\0') || path.contains('\\')) {
    return fail(Errc::bad_spec, "the parent's path has a NUL or a backslash in it");
  }
  return {};
}

}  // namespace

Expected<ByteRange> locator_space(const ParentLocator& locator, std::uint64_t file_end) {
  const auto space = locator.data_space < kSectorBytes
                         ? std::uint64_t{locator.data_space} * kSectorBytes
                         : std::uint64_t{locator.data_space};
  if (space % kSectorBytes != 0) {
    return fail(Errc::bad_image,
                fmt::format("data space {} is neither sectors nor a multiple of 512 bytes", space));
  }
  if (locator.data_length > space) {
    return fail(Errc::bad_image, fmt::format("data length {} is more than its space of {} bytes",
                                             locator.data_length, space));
  }
  if (locator.data_length > kLocatorBytesMax) {
    return fail(Errc::bad_image, fmt::format("data length {} is more than {}", locator.data_length,
                                             kLocatorBytesMax));
  }
  const auto offset = locator.data_offset;
  if (offset % kSectorBytes != 0 || offset > file_end || space > file_end - offset) {
    return fail(Errc::bad_image,
                fmt::format("{} bytes at {:#x} are not within the file", space, offset));
  }
  return ByteRange{offset, space};
}

std::string_view name_of(PathOrigin origin) {
  switch (origin) {
    case PathOrigin::relative:
      return "relative path (W2ru)";
    case PathOrigin::name:
      return "parent name";
    case PathOrigin::url:
      return "URL (MacX)";
    case PathOrigin::absolute:
      return "absolute path (W2ku)";
  }
  return {};
}

ParentPaths parent_paths(const DynamicHeader& header, std::span<const LocatorData> locators) {
  PathCollector collector(locators);
  collector.add_locators(kLocatorRelative, PathOrigin::relative);
  collector.add_name(header.parent_name);
  collector.add_locators(kLocatorUrl, PathOrigin::url);
  collector.add_locators(kLocatorAbsolute, PathOrigin::absolute);
  return collector.take();
}

Expected<EncodedParent> encode_parent(const ParentPlace& place) {
  if (auto ok = check_place(place); !ok) return std::unexpected(ok.error());
  const auto name = utf16_from_utf8(base_name(place.relative_path), ByteOrder::big);
  const auto relative = utf16_from_utf8(windows_relative(place.relative_path), ByteOrder::little);
  const auto absolute = utf16_from_utf8(windows_absolute(place.absolute_path), ByteOrder::little);
  if (!name || !relative || !absolute) {
    return fail(Errc::bad_spec, "the parent's path is not UTF-8, which the format needs");
  }
  auto url = bytes_of(fmt::format("{}./{}", kUrlScheme, percent_encoded(place.relative_path)));
  EncodedParent encoded;
  // One character stays free for the NUL that ends the name.
  const bool short_enough =
      name->size() <= encoded.name.size() - 2 &&
      std::max({relative->size(), absolute->size(), url.size()}) <= kLocatorBytesMax;
  if (!short_enough) return fail(Errc::bad_spec, "the parent's path is too long for the format");
  std::ranges::copy(*name, encoded.name.begin());
  encoded.locators = {{0, kLocatorRelative, *relative},
                      {1, kLocatorAbsolute, *absolute},
                      {2, kLocatorUrl, std::move(url)}};
  return encoded;
}

ParentLocator locator_for(const LocatorData& data, std::uint64_t offset) {
  const auto space = std::max<std::uint64_t>(round_up(data.bytes.size(), kSectorBytes), 512);
  return {.code = data.code,
          .data_space = static_cast<std::uint32_t>(space),
          .data_length = static_cast<std::uint32_t>(data.bytes.size()),
          .data_offset = offset};
}

}  // namespace xenblk::vhd
