#include "backend/platform/loopback/store_path.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/platform/loopback/store_tree.h"

namespace xenblk::loopback {
namespace {

// docs/misc/xenstore.txt, "Permitted characters".
bool is_permitted(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-/_@").contains(c);
}

bool is_valid(std::string_view path) {
  if (path.empty() || path.size() > kStorePathBytesMax) return false;
  if (path.size() > 1 && path.ends_with('/')) return false;
  return !path.contains("//") && std::ranges::all_of(path, is_permitted);
}

}  // namespace

Expected<std::string> absolute_path(std::string_view path, DomainId own) {
  if (!is_valid(path)) return fail(Errc::io, "not a XenStore path", EINVAL);
  if (path.starts_with('/') || path.starts_with('@')) return std::string(path);
  return fmt::format("/local/domain/{}/{}", own.n, path);
}

}  // namespace xenblk::loopback
