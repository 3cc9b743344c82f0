// A read-only user of an image that another user writes: reads go through, writes are answered
// read_only. Shares the image. Threads as image.h says.
#pragma once

#include <memory>
#include <utility>

#include "vhd/request.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

class ReadOnlyView final : public Image {
 public:
  explicit ReadOnlyView(std::shared_ptr<Image> image)
      : image_(std::move(image)), info_(read_only(image_->info())) {}

  const ImageInfo& info() const override { return info_; }
  SectorCount capacity() const override { return image_->capacity(); }
  Expected<SectorCount> reread_capacity() override { return image_->reread_capacity(); }

  void submit(ImageRequest& request) noexcept override {
    const auto refused = refusal(request, capacity(), info_.access);
    if (refused == IoStatus::okay) return image_->submit(request);
    begin(request);
    answer_later(request, refused);
  }

  Expected<ImageExtent> extent_at(SectorIndex first) override { return image_->extent_at(first); }

  // The writer finishes the image.
  Expected<void> finish() override { return {}; }

 private:
  static ImageInfo read_only(ImageInfo info) {
    info.access = Access::read_only;
    info.discard = false;
    return info;
  }

  std::shared_ptr<Image> image_;
  const ImageInfo info_;
};

}  // namespace xenblk::vhd
