// A pipe that an image is written to, as an image: what comes in any order leaves in the order of
// the disk. Blocks where the pipe is full. One thread.
#pragma once

#include <span>

#include "xenblk/image.h"

namespace xenblk::img {

// Every sector must come exactly once, as data or as zeroes, and a flush at the end.
class StreamTarget : public Image {
 public:
  StreamTarget(int descriptor, SectorCount capacity);

  const ImageInfo& info() const override { return info_; }
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override;
  Expected<void> finish() override { return {}; }

  // The errno of a write that failed; 0 when none did.
  int error() const { return error_; }

 protected:
  // The next bytes of the disk, in their order, and the end. They answer with an errno, or 0.
  virtual int put_data(std::span<const std::byte> data) { return write_all(data); }
  virtual int put_zeroes(std::uint64_t bytes) { return write_zeroes(bytes); }
  virtual int put_end() { return 0; }

  int write_all(std::span<const std::byte> data) const;
  int write_zeroes(std::uint64_t bytes) const;

 private:
  int put(const ImageRequest& request);

  const int descriptor_;
  const ImageInfo info_;
  ImageRequestList waiting_;  // by position
  std::uint64_t next_sector_ = 0;
  int error_ = 0;
};

}  // namespace xenblk::img
