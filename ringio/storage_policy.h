// What becomes of a request that the storage has failed: decided from values alone. Pure; any
// thread.
#pragma once

#include <chrono>
#include <cstdint>

#include "xenblk/image.h"

namespace xenblk::ringio {

// What an administrator wants when the storage fails.
enum class OnFailure : std::uint8_t {
  report,  // the guest gets an error
  pause,   // the guest waits, and its request is done again
  stop,    // the guest gets an error, for this and for all that follows
};

struct StoragePolicy {
  OnFailure on_error = OnFailure::report;     // it cannot be read or written
  OnFailure on_no_space = OnFailure::report;  // it is full, or a quota is used up

  bool pauses() const { return on_error == OnFailure::pause || on_no_space == OnFailure::pause; }
  friend bool operator==(const StoragePolicy&, const StoragePolicy&) = default;
};

// How the image has answered a request.
struct StorageFailure {
  IoStatus status = IoStatus::io_error;
  ImageOp op = ImageOp::read;
  // Through the page cache (ImageInfo::cached).
  bool cached = false;
};

// What is not the storage's failure (unsupported, a read-only image, out of range) is always
// reported: it would fail for ever. So is a flush of what lies in the page cache, unless it stops
// the disk: the kernel tells once that it could not write its pages and then takes them for clean,
// so that a second flush would promise what is lost.
OnFailure reaction_to(const StorageFailure& failure, const StoragePolicy& policy);

// How long to wait after the nth failure in a row, from 1: a storage that was away for a moment is
// found at once, and one that is away for a day costs nothing. Twice as long each time, 5 s at
// most.
std::chrono::nanoseconds retry_after(std::uint32_t failures);

}  // namespace xenblk::ringio
