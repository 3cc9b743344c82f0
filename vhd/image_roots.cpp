#include "vhd/image_roots.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

namespace xenblk::vhd {
namespace {

// True when `path` is `root` or beneath it; both without links.
bool lies_beneath(const std::filesystem::path& path, const std::filesystem::path& root) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

std::unexpected<Error> not_there(const std::string& path) {
  return fail(Errc::permission, path + ": images may not lie there (image-roots says where)");
}

}  // namespace

ImageRoots::ImageRoots(const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) status = {};
    roots_.push_back({path, status.st_dev, status.st_ino});
  }
}

const ImageRoots::Root* ImageRoots::root_of(const std::string& real_path) const {
  const auto found = std::ranges::find_if(roots_, [&](const Root& root) {
    std::error_code ignored;
    const auto real_root = std::filesystem::canonical(root.path, ignored);
    return !real_root.empty() && lies_beneath(real_path, real_root);
  });
  return found == roots_.end() ? nullptr : &*found;
}

Expected<void> ImageRoots::check(const std::string& path) const {
  if (roots_.empty()) return {};
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  if (error) return fail_os(error.value(), path);
  if (root_of(real) == nullptr) return not_there(path);
  return {};
}

Expected<void> ImageRoots::check_new(const std::string& path) const {
  auto placed = check(std::filesystem::path(path).parent_path());
  if (placed || placed.error().code != Errc::permission) return placed;
  return not_there(path);
}

Error ImageRoots::explain(const std::string& path, Error error) const {
  std::error_code ignored;
  const auto* const root = root_of(std::filesystem::canonical(path, ignored));
  struct stat now = {};
  if (error.code != Errc::permission || root == nullptr || ::stat(root->path.c_str(), &now) != 0 ||
      (now.st_dev == root->device && now.st_ino == root->inode)) {
    return error;
  }
  error.text = fmt::format(
      "{}: the image root {} was mounted or made when xenblkd was running: restart xenblkd, it "
      "cannot open anything there until then",
      path, root->path);
  return error;
}

}  // namespace xenblk::vhd
