// An image whose sector n is the file's sector n: raw, and fixed VHD. Each request is one operation
// on the file; a discard punches a hole. Owns the file. Threads and guarantees as image.h says.
//
// A raw image is as large as its file, so it grows with it; the size of a fixed VHD stands in its
// footer (VHD specification, "Hard Disk Footer Format").
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "vhd/flush_group.h"
#include "xenblk/image.h"

namespace xenblk::vhd {

enum class FlatSize : std::uint8_t { of_info, of_file };

class FlatImage final : public Image {
 public:
  FlatImage(std::unique_ptr<File> file, ImageInfo info, FlatSize size = FlatSize::of_info);
  const ImageInfo& info() const override { return info_; }
  SectorCount capacity() const override { return {sectors_.load(std::memory_order_relaxed)}; }
  Expected<SectorCount> reread_capacity() override;
  Expected<SectorCount> grow(SectorCount capacity) override;
  void submit(ImageRequest& request) noexcept override;
  Expected<ImageExtent> extent_at(SectorIndex first) override;
  Expected<void> finish() override;

 private:
  void transfer(ImageRequest& request) noexcept;
  void make_hole(ImageRequest& request) noexcept;
  void hole_made(ImageRequest& request, std::int64_t result) noexcept;
  void write_next_zeroes(ImageRequest& request) noexcept;
  static FlatImage& of(ImageRequest& request);

  std::unique_ptr<File> file_;
  const ImageInfo info_;
  const FlatSize size_;
  std::atomic<std::uint64_t> sectors_;  // only grows
  FlushGroup flushes_;
};

// The whole file is the disk; what is left over a multiple of 512 bytes is not served.
Expected<std::unique_ptr<Image>> open_raw_image(std::unique_ptr<File> file,
                                                std::uint32_t physical_sector_bytes);

}  // namespace xenblk::vhd
