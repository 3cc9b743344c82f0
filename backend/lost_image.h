// The image of a disk that could be opened neither as it was nor as it should have become: all
// requests fail, so that the guest does not wait for what will not come. Any thread, no failure.
#pragma once

#include <boost/intrusive/parent_from_member.hpp>

#include "xenblk/image.h"

namespace xenblk::backend {

class LostImage final : public Image {
 public:
  // As large as the guest was told: to ask for its own sectors is no mistake of its.
  explicit LostImage(SectorCount capacity) : info_{.format = "lost", .capacity = capacity} {}
  const ImageInfo& info() const override { return info_; }

  void submit(ImageRequest& request) noexcept override {
    // No failure of the storage that could be waited for (on-error = "pause").
    request.status = IoStatus::out_of_range;
    request.task.run = [](Task& task) noexcept {
      auto& self = *boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
      self.done(self);
    };
    request.engine->post(request.task);
  }

  Expected<ImageExtent> extent_at(SectorIndex) override {
    return fail(Errc::io, "the image could not be opened again");
  }
  Expected<void> finish() override { return {}; }

 private:
  const ImageInfo info_;
};

}  // namespace xenblk::backend
