#include "vhd/operations/children.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "vhd/chain/level.h"
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

// True, too, when what the child names is nowhere: it may have been this raw disk.
bool may_name(const std::string& child, const ParentReference& reference, const std::string& raw) {
  const auto wanted = identify_host_file(raw);
  bool names_another = false;
  for (const auto& candidate : reference.paths) {
    const auto found = identify_host_file(fs::path(child).parent_path() / candidate.path);
    if (!found) continue;
    if (wanted && *found == *wanted) return true;
    names_another = true;
  }
  return !names_another;
}

// A child that is running is locked and passed over; but then its parent is locked too.
bool is_child_of(const std::string& path, const ParentIdentity& parent) {
  const auto file = open_host_file(path, {.access = Access::read_only});
  if (!file) return false;
  auto footers = read_footers(**file);
  if (!footers || footers->chosen.type != DiskType::differencing) return false;
  DynamicHeaderBytes bytes;
  if (!(*file)->read_at(footers->chosen.data_offset, bytes)) return false;
  const auto header = parse_dynamic_header(bytes);
  if (!header || header->parent_uuid != parent.uuid) return false;
  if (parent.uuid != Uuid{}) return true;
  const auto layout = read_vhd_layout(**file, std::move(*footers));
  return layout && may_name(path, parent_reference(*layout), parent.path);
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

Expected<std::vector<std::string>> find_children(const ParentIdentity& parent,
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
      if (is_child_of(path, parent)) children.push_back(path);
    }
  }
  std::ranges::sort(children);
  const auto repeated = std::ranges::unique(children);
  children.erase(repeated.begin(), repeated.end());
  return children;
}

}  // namespace xenblk::vhd
