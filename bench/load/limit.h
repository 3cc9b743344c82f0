// The same load straight through io_uring on the file of a raw image: no rings, no guests, no
// image. What the data path is compared with.
#pragma once

#include "bench/load/data_path.h"

namespace xenblk::bench {

// A thread with an io_uring for each disk, with registered buffers. Queues, workers and layout mean
// nothing here. Errors: bad_spec (not a raw image, a load that does not fit it), those of opening
// the file and of io_uring.
Expected<Measurement> measure_limit(const DataPath& path);

}  // namespace xenblk::bench
