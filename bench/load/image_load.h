// Load on an image itself: no rings, no guests, one thread with its own io_uring engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/load/load.h"
#include "bench/load/measurement.h"
#include "xenblk/error.h"

namespace xenblk::bench {

struct ImageLoad {
  Load load;  // its queues, disks and layout mean nothing here
  // Specifications, such as vhd:/path. Each is loaded for `load.duration` in all; several take
  // turns of `turn`, so that whatever else the machine does meets all of them alike.
  std::vector<std::string> images;
  std::chrono::nanoseconds turn = std::chrono::milliseconds(50);
  // Each operation goes this many bytes behind the one before instead: with the size of a block,
  // each is the first in its block. Ends where the disk does. 0: as the pattern says.
  std::uint64_t stride_bytes = 0;
  std::uint64_t first_bytes = 0;  // where the first of these goes
  std::chrono::nanoseconds warm_up{};
};

// One of each image.
Expected<std::vector<Measurement>> measure(const ImageLoad& image_load);

// How much memory of this process an open image holds.
Expected<std::uint64_t> bytes_held_by(const std::string& image);

}  // namespace xenblk::bench
