// What a VHD file is, read and checked, before it becomes an image or a parent. Control path; reads
// the file.
#pragma once

#include <optional>

#include "vhd/vhd_layout.h"

namespace xenblk::vhd {

struct VhdContents {
  SectorCount capacity;
  Footers fixed_footers;            // of a fixed image
  std::optional<VhdLayout> layout;  // of all others

  const Footers& footers() const { return layout ? layout->footers : fixed_footers; }
};

Expected<VhdContents> read_vhd(File& file);

}  // namespace xenblk::vhd
