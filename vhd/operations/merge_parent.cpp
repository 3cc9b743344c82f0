#include "vhd/operations/merge_parent.h"

#include <filesystem>

#include <fmt/format.h>

namespace xenblk::vhd {
namespace {

std::unexpected<Error> smaller(const std::string& path, SectorCount size, SectorCount other_size,
                               const std::string& other) {
  return fail(Errc::refused, fmt::format("{}: its {} sectors are fewer than the {} of {}", path,
                                         size.n, other_size.n, other));
}

}  // namespace

Expected<std::string> path_of(const File& file) {
  std::error_code error;
  const auto link = fmt::format("/proc/self/fd/{}", file.descriptor());
  const auto path = std::filesystem::read_symlink(link, error);
  if (error) return fail_os(error.value(), link);
  return path.string();
}

Expected<bool> parent_must_grow(const MergeSizes& sizes) {
  if (sizes.parent == sizes.child) return false;
  if (sizes.parent > sizes.child) {
    return smaller(sizes.child_path, sizes.child, sizes.parent, sizes.parent_path);
  }
  if (sizes.parent < sizes.below) {
    return fail(Errc::refused,
                fmt::format("{}: has {} sectors, and its parent more: grown to the {} of {} it "
                            "would show them",
                            sizes.parent_path, sizes.parent.n, sizes.child.n, sizes.child_path));
  }
  if (sizes.parent_is_vhd) return true;
  return smaller(sizes.parent_path, sizes.parent, sizes.child, sizes.child_path);
}

}  // namespace xenblk::vhd
