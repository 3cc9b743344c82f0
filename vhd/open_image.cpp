#include "vhd/open_image.h"

#include <utility>

#include "vhd/flat_image.h"
#include "vhd/open_vhd.h"

namespace xenblk::vhd {

Expected<std::unique_ptr<Image>> open_image(Format format, std::unique_ptr<File> file,
                                            std::uint32_t physical_sector_bytes,
                                            const OpenParents& open_parents) {
  switch (format) {
    case Format::raw:
      return open_raw_image(std::move(file), physical_sector_bytes);
    case Format::vhd:
      return open_vhd_image(std::move(file), physical_sector_bytes, {}, open_parents);
    case Format::null:
      break;
  }
  return fail(Errc::bad_spec, "a null image has no file");
}

}  // namespace xenblk::vhd
