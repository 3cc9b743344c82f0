#include "tools/img/image_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "tools/img/vhd_file.h"
#include "vhd/host_file.h"

namespace xenblk::img {
namespace {

// The path under which an open file can be found now.
std::string path_of(const File& file) {
  std::error_code error;
  const auto path =
      std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", file.descriptor()), error);
  return error ? "?" : path.string();
}

Expected<void> read_vhd(File& file, ImageFile& image) {
  auto footers = vhd::read_footers(file);
  if (!footers) return std::unexpected(footers.error());
  image.footers = *footers;
  if (footers->chosen.type == vhd::DiskType::fixed) {
    image.capacity = {vhd::guest_bytes(*footers->at_end) / kSectorBytes};
    image.warnings = footers->warnings;
    return {};
  }
  auto layout = vhd::read_vhd_layout(file, std::move(*footers));
  if (!layout) return std::unexpected(layout.error());
  image.capacity = layout->capacity;
  image.warnings = layout->warnings;
  image.layout = std::move(*layout);
  return {};
}

Expected<ImageFile> read_image_file(const vhd::ImageSpec& spec) {
  const auto file = vhd::open_host_file(spec.path, {.access = Access::read_only});
  if (!file) return std::unexpected(refusal(file.error()));
  ImageFile image{.path = spec.path, .format = spec.format};
  const auto bytes = (*file)->size_bytes();
  if (!bytes) return std::unexpected(bytes.error());
  image.file_bytes = *bytes;
  struct stat status = {};
  if (::fstat((*file)->descriptor(), &status) == 0) {
    image.stored_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  if (spec.format == vhd::Format::raw) {
    image.capacity = {image.file_bytes / kSectorBytes};
    return image;
  }
  if (auto read = read_vhd(**file, image); !read) {
    read.error().text = spec.path + ": " + read.error().text;
    return std::unexpected(read.error());
  }
  return image;
}

}  // namespace

std::uint64_t ImageFile::blocks_allocated() const {
  if (!layout) return 0;
  const auto blocks = std::span(layout->entries).first(layout->block_count);
  return layout->block_count -
         static_cast<std::uint64_t>(std::ranges::count(blocks, vhd::kUnusedBlock));
}

Expected<std::vector<ImageFile>> read_image_files(const vhd::ImageSpec& spec,
                                                  const ChainOptions& options) {
  auto image = read_image_file(spec);
  if (!image) return std::unexpected(image.error());
  std::vector<ImageFile> files;
  files.push_back(std::move(*image));
  if (!files.front().is_differencing()) return files;
  const auto levels = open_parents(spec.path, *files.front().layout, options);
  if (!levels) {
    files.front().warnings.push_back({"parent", "parent: " + describe(levels.error())});
    return files;
  }
  for (const auto& level : *levels) {
    const auto format = level->facts().uuid ? vhd::Format::vhd : vhd::Format::raw;
    auto parent = read_image_file({format, path_of(level->file()), {}});
    if (!parent) return std::unexpected(parent.error());
    files.push_back(std::move(*parent));
  }
  return files;
}

}  // namespace xenblk::img
