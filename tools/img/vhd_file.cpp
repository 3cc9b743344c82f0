#include "tools/img/vhd_file.h"

#include <utility>

#include "tools/img/image_name.h"

namespace xenblk::img {

Expected<VhdFile> open_vhd_file(const std::string& name, Access access) {
  const auto spec = parse_image_name(name, BarePath::vhd);
  if (!spec) return std::unexpected(spec.error());
  auto file = vhd::open_host_file(spec->path, {.access = access});
  if (!file) return std::unexpected(refusal(file.error()));
  return VhdFile{spec->path, std::move(*file)};
}

}  // namespace xenblk::img
