#include "backend/image_opener.h"

#include <utility>

#include "vhd/image_spec.h"

namespace xenblk::backend {

void ImageOpener::open(std::string params, Access access, OpenDone done) {
  run_aside([this, params = std::move(params), access, done = std::move(done)] {
    auto image = open_now(params, access);
    loop_.post([done, image = std::move(image)] { done(image); });
  });
}

void ImageOpener::run_aside(WorkQueue::Work work) {
  if (!thread_) return run_aside_(std::move(work));
  thread_->add(std::move(work));
}

Expected<std::shared_ptr<Image>> ImageOpener::open_now(const std::string& params, Access access) {
  if (open_image_) return open_image_(params, access);
  const auto spec = vhd::parse_image_spec(params);
  if (!spec) return std::unexpected(spec.error());
  return registry_.open(*spec, access);
}

void ImageOpener::reread(std::shared_ptr<Image> image, RereadDone done) {
  run_aside([this, image = std::move(image), done = std::move(done)] {
    loop_.post([done, capacity = image->reread_capacity()] { done(capacity); });
  });
}

void ImageOpener::grow(std::shared_ptr<Image> image, SectorCount capacity, RereadDone done) {
  run_aside([this, image = std::move(image), capacity, done = std::move(done)]() mutable {
    auto grown = image->grow(capacity);
    image.reset();
    loop_.post([done = std::move(done), grown = std::move(grown)] { done(grown); });
  });
}

void ImageOpener::look(std::shared_ptr<Image> image, ImageLook look, CloseDone done) {
  run_aside(
      [this, image = std::move(image), look = std::move(look), done = std::move(done)]() mutable {
        auto looked = open_image_
                          ? fail(Errc::unsupported_image, "an image of this kind cannot be changed")
                          : look(registry_, image);
        image.reset();
        loop_.post([done = std::move(done), looked = std::move(looked)] { done(looked); });
      });
}

void ImageOpener::change(std::shared_ptr<Image> image, ImageChange change, ChangeDone done) {
  run_aside([this, image = std::move(image), change = std::move(change),
             done = std::move(done)]() mutable {
    auto changed =
        open_image_
            ? vhd::Changed{std::move(image),
                           fail(Errc::unsupported_image, "an image of this kind cannot be changed")}
            : change(registry_, std::move(image));
    // No share of the image stays behind: the next change wants the last one.
    loop_.post([done = std::move(done), changed = std::move(changed)]() mutable {
      done(std::move(changed));
    });
  });
}

void ImageOpener::close(std::shared_ptr<Image> image, CloseDone done) {
  // Moved all the way, so that the registry holds the last reference when it closes.
  run_aside([this, image = std::move(image), done = std::move(done)]() mutable {
    auto closed = open_image_ ? image->finish() : registry_.close(std::move(image));
    loop_.post([done, closed = std::move(closed)] { done(closed); });
  });
}

}  // namespace xenblk::backend
