#include "vhd/null_image.h"

#include <cstring>

#include "vhd/request.h"

namespace xenblk::vhd {

NullImage::NullImage(SectorCount capacity, Access access)
    : info_{.format = "null",
            .capacity = capacity,
            .physical_sector_bytes = kPageBytes,
            .access = access,
            .discard = true} {}

void NullImage::submit(ImageRequest& request) noexcept {
  begin(request);
  const auto status = refusal(request, info_);
  if (status == IoStatus::okay && request.op == ImageOp::read && request.count.n > 0) {
    std::memset(request.data, 0, request.count.n * kSectorBytes);
  }
  answer_later(request, status);
}

}  // namespace xenblk::vhd
