// The disk in a drive without a medium: no sectors, and nothing that could be done with them. Any
// thread, no failure.
#pragma once

#include <boost/intrusive/parent_from_member.hpp>

#include "xenblk/image.h"

namespace xenblk::backend {

class EmptyMedium final : public Image {
 public:
  const ImageInfo& info() const override { return info_; }

  void submit(ImageRequest& request) noexcept override {
    request.status = request.op == ImageOp::flush ? IoStatus::okay : IoStatus::out_of_range;
    request.task.run = [](Task& task) noexcept {
      auto& self = *boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
      self.done(self);
    };
    request.engine->post(request.task);
  }

  Expected<ImageExtent> extent_at(SectorIndex) override {
    return fail(Errc::refused, "there is no medium");
  }
  Expected<void> finish() override { return {}; }

 private:
  const ImageInfo info_{.format = "empty drive", .capacity = {0}};
};

}  // namespace xenblk::backend
