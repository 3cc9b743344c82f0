// Load on an image itself: no rings, no guests, one thread with its own io_uring engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/load/load.h"
#include "bench/load/measurement.h"
#include "xenblk/error.h"

namespace xenblk::bench {

struct ImageLoad {
  Load load;          // its queues, disks and layout mean nothing here
  std::string image;  // a specification, such as vhd:/path
  // Each operation goes this many bytes behind the one before instead: with the size of a block,
  // each is the first in its block. Ends where the disk does. 0: as the pattern says.
  std::uint64_t stride_bytes = 0;
  std::chrono::nanoseconds warm_up{};
};

Expected<Measurement> measure(const ImageLoad& image_load);

// How much memory of this process an open image holds.
Expected<std::uint64_t> bytes_held_by(const std::string& image);

}  // namespace xenblk::bench
