// An image's file as it lies there: what info and map tell of it beyond its content. Control path,
// blocking; reads only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/img/open_images.h"
#include "vhd/image_spec.h"
#include "vhd/vhd_layout.h"

namespace xenblk::img {

struct ImageFile {
  std::string path;
  vhd::Format format = vhd::Format::raw;
  SectorCount capacity;
  std::uint64_t file_bytes = 0;
  std::uint64_t stored_bytes = 0;        // on its file system
  std::optional<vhd::Footers> footers;   // vhd
  std::optional<vhd::VhdLayout> layout;  // vhd with blocks
  std::vector<vhd::Warning> warnings;

  bool is_differencing() const {
    return footers && footers->chosen.type == vhd::DiskType::differencing;
  }
  std::uint64_t blocks_allocated() const;
};

// The image, its parent, and so on. A parent that cannot be had is a warning of the image.
Expected<std::vector<ImageFile>> read_image_files(const vhd::ImageSpec& spec,
                                                  const ChainOptions& options);

}  // namespace xenblk::img
