// A disk that swallows writes and reads as zeroes, without any file: for benchmarks of everything
// else. Any thread, no failure.
#pragma once

#include "xenblk/image.h"

namespace xenblk::vhd {

class NullImage final : public Image {
 public:
  NullImage(SectorCount capacity, Access access);
  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override {
    return ImageExtent{ImageExtent::Kind::zero, {info_.capacity.n - first.n}};
  }
  Expected<void> finish() override { return {}; }

 private:
  const ImageInfo info_;
};

}  // namespace xenblk::vhd
