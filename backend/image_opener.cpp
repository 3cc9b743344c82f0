#include "backend/image_opener.h"

#include <utility>

#include "vhd/image_spec.h"

namespace xenblk::backend {

void ImageOpener::open(std::string params, Access access, OpenDone done) {
  work_.add([this, params = std::move(params), access, done = std::move(done)] {
    const auto spec = vhd::parse_image_spec(params);
    auto image = spec ? registry_.open(*spec, access)
                      : Expected<std::shared_ptr<Image>>(std::unexpected(spec.error()));
    loop_.post([done, image = std::move(image)] { done(image); });
  });
}

void ImageOpener::close(std::shared_ptr<Image> image, CloseDone done) {
  // Moved all the way, so that the registry holds the last reference when it closes.
  work_.add([this, image = std::move(image), done = std::move(done)]() mutable {
    auto closed = registry_.close(std::move(image));
    loop_.post([done, closed = std::move(closed)] { done(closed); });
  });
}

}  // namespace xenblk::backend
