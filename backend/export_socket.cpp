#include "backend/export_socket.h"

#include <fmt/format.h>

#include "backend/negotiation/values.h"

namespace xenblk::backend {

Expected<std::string> export_socket(std::string_view directory, std::string_view text) {
  auto name = text;
  if (name.starts_with(directory) && name.substr(directory.size()).starts_with('/')) {
    name.remove_prefix(directory.size() + 1);
  }
  // What begins with a dot is hidden, or another directory.
  const bool plain = !name.empty() && !name.starts_with('.') &&
                     name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
  if (plain) return fmt::format("{}/{}", directory, name);
  return fail(Errc::bad_spec, fmt::format("the socket of an export must lie in {}: {}", directory,
                                          negotiation::quoted(std::string(text))));
}

}  // namespace xenblk::backend
