// The whole data path in one process: an image, workers, the loopback Xen, and guests that make
// load on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/load/load.h"
#include "bench/load/measurement.h"
#include "ringio/poller.h"
#include "xenblk/error.h"

namespace xenblk::bench {

struct DataPath {
  Load load;
  std::string image;  // a specification, such as raw:/path or null:1G
  std::uint32_t workers = 1;
  ringio::PollingOptions polling = {};
  bool persistent_grants = false;      // pages stay mapped
  std::string journal_directory;       // of what is in flight; none if empty
  std::chrono::nanoseconds warm_up{};  // load before the measurement
};

// Every disk is on the same image. Errors: bad_spec (a load that does not fit the rings or the
// image), io (the backend broke a rule of the ring or lost a request), and those of opening images
// and starting workers.
Expected<Measurement> measure(const DataPath& path);

}  // namespace xenblk::bench
