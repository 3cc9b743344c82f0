#include "backend/negotiation/paths.h"

#include <fmt/format.h>

#include <limits>

#include "backend/negotiation/values.h"

namespace xenblk::negotiation {

namespace {

// Takes the first component off a path.
std::string_view next_component(std::string_view& path) {
  const auto slash = path.find('/');
  const auto component = path.substr(0, slash);
  path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
  return component;
}

// "/local/domain/<n>/rest" -> "rest"; a relative path stays as it is.
std::string_view relative(std::string_view path) {
  if (!path.starts_with('/')) return path;
  path.remove_prefix(1);
  if (next_component(path) != "local" || next_component(path) != "domain") return {};
  next_component(path);
  return path;
}

// A number as XenStore names a directory with it: no leading zero, so that each has one spelling
// only.
std::optional<std::uint32_t> canonical_number(std::string_view text) {
  if (text.size() > 1 && text.starts_with('0')) return {};
  return parse_u32(text);
}

}  // namespace

std::optional<DeviceKey> device_of_path(std::string_view path, std::string_view kind) {
  path = relative(path);
  if (next_component(path) != "backend" || next_component(path) != kind) return {};
  const auto domain = canonical_number(next_component(path));
  const auto device = canonical_number(next_component(path));
  if (!domain || *domain > std::numeric_limits<std::uint16_t>::max() || !device) return {};
  return DeviceKey{std::string(kind), {static_cast<std::uint16_t>(*domain)}, {*device}};
}

std::string backend_path(const DeviceKey& key) {
  return fmt::format("backend/{}/{}/{}", key.kind, key.domain.n, key.device.n);
}

std::string frontend_path(const DeviceKey& key) {
  return fmt::format("/local/domain/{}/device/vbd/{}", key.domain.n, key.device.n);
}

std::string error_path(const DeviceKey& key) {
  return fmt::format("error/backend/{}/{}/{}", key.kind, key.domain.n, key.device.n);
}

std::string display_name(const DeviceKey& key) {
  return fmt::format("{} {}/{}", key.kind, key.domain.n, key.device.n);
}

}  // namespace xenblk::negotiation
