// Walks an image's extents from the start to the end, asking the image once for each. The thread of
// the operation it belongs to; blocks as Image::extent_at does.
#pragma once

#include <algorithm>
#include <cassert>

#include "xenblk/image.h"

namespace xenblk::vhd {

class ExtentCursor {
 public:
  explicit ExtentCursor(Image& image) : image_(image), capacity_(image.info().capacity) {}

  // What begins at `first`; sectors behind the end of the disk are zeroes without an end. Calls
  // come with rising positions.
  Expected<ImageExtent> at(SectorIndex first) {
    if (first.n >= capacity_.n) {
      return ImageExtent{ImageExtent::Kind::zero, {~std::uint64_t{0} - first.n}};
    }
    if (first.n >= end_) {
      auto found = image_.extent_at(first);
      if (!found) return found;
      assert(found->count.n > 0 && found->count.n <= capacity_.n - first.n);
      current_ = *found;
      end_ = first.n + found->count.n;
    }
    auto rest = current_;
    rest.count = {end_ - first.n};
    return rest;
  }

 private:
  Image& image_;
  const SectorCount capacity_;
  ImageExtent current_;
  std::uint64_t end_ = 0;  // of the current one
};

}  // namespace xenblk::vhd
