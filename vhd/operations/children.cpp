#include "vhd/operations/children.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "vhd/format/dynamic_header.h"
#include "vhd/host_file.h"
#include "vhd/operations/resize.h"
#include "vhd/read_footers.h"

namespace xenblk::vhd {
namespace {

namespace fs = std::filesystem;

std::unexpected<Error> named(const std::string& path, Error error) {
  error.text = path + ": " + error.text;
  return std::unexpected(std::move(error));
}

// A child that is running is locked and passed over; but then its parent is locked too.
std::optional<Uuid> parent_of(const std::string& path) {
  const auto file = open_host_file(path, {.access = Access::read_only});
  if (!file) return {};
  const auto footers = read_footers(**file);
  if (!footers || footers->chosen.type != DiskType::differencing) return {};
  DynamicHeaderBytes bytes;
  if (!(*file)->read_at(footers->chosen.data_offset, bytes)) return {};
  const auto header = parse_dynamic_header(bytes);
  return header ? std::optional(header->parent_uuid) : std::nullopt;
}

Expected<std::vector<std::string>> files_in(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> files;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const bool regular = it->is_regular_file(ignored) && !it->is_symlink(ignored);
    if (regular) files.push_back(fs::canonical(it->path(), ignored).string());
  }
  if (error) return fail_os(error.value(), directory);
  return files;
}

}  // namespace

Expected<std::vector<std::string>> find_children(const Uuid& parent,
                                                 const std::vector<std::string>& directories,
                                                 const std::string& ignored) {
  std::vector<std::string> children;
  for (const auto& directory : directories) {
    const auto files = files_in(directory);
    if (!files) return files;
    for (const auto& path : *files) {
      if (path == ignored) continue;
      // An interrupted change of parent counts only once it is undone.
      if (auto ok = recover_closed_host_image(path); !ok) return named(path, ok.error());
      if (parent_of(path) == parent) children.push_back(path);
    }
  }
  std::ranges::sort(children);
  const auto repeated = std::ranges::unique(children);
  children.erase(repeated.begin(), repeated.end());
  return children;
}

}  // namespace xenblk::vhd
