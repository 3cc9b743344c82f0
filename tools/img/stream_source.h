// A pipe or file that is read from its start to its end, as an image, so that a copy needs to know
// nothing of pipes. Thread of the engine only.
#pragma once

#include "ringio/uring_engine.h"
#include "tools/img/interrupt.h"
#include "xenblk/image.h"

namespace xenblk::img {

// Pinned: the engine watches it, so it must live until the engine is gone.
class StreamSource final : public Image {
 public:
  // `capacity`: how long the stream is, or may be at most.
  StreamSource(int descriptor, SectorCount capacity, ringio::UringEngine& engine);
  StreamSource(const StreamSource&) = delete;
  StreamSource& operator=(const StreamSource&) = delete;

  const ImageInfo& info() const override { return info_; }
  // Reads only, with rising positions. What lies behind the stream's end reads as zeroes.
  void submit(ImageRequest& request) noexcept override;
  // Behind the end, once that was met, there is one run of zeroes.
  Expected<ImageExtent> extent_at(SectorIndex first) override;
  Expected<void> finish() override { return {}; }

  // Reads that wait are answered with an error.
  void stop() noexcept;

  std::uint64_t bytes_read() const { return bytes_; }
  // The errno of a read that failed; 0 when none did.
  int error() const { return error_; }
  // True when the stream goes on behind the capacity. Waits for it to end or to go on. Errors: that
  // of the read, closed (interrupted).
  Expected<bool> goes_on(const InterruptGuard& interrupts);

 private:
  struct OwnWatch : ringio::Watch {
    StreamSource* source = nullptr;
  };
  void pump() noexcept;
  bool fill_first() noexcept;

  const int descriptor_;
  const ImageInfo info_;
  OwnWatch watch_;
  ImageRequestList waiting_;
  std::uint64_t filled_bytes_ = 0;  // of the first that waits
  std::uint64_t bytes_ = 0;
  bool ended_ = false;
  int error_ = 0;
};

}  // namespace xenblk::img
