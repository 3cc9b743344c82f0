// What many disks cost beside the work they do: connecting them, their memory, keeping them while
// they are idle, and the requests of a few among them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/load/data_path.h"

namespace xenblk::bench {

struct Scale {
  std::chrono::nanoseconds connect_each{};      // of a disk, with all its queues
  std::chrono::nanoseconds connect_cpu_each{};  // processor time of this process for that
  double memory_bytes_each = 0;                 // private memory of a disk, without its ring pages
  double idle_cpu_share = 0;                    // of one CPU, all disks connected and none in use
  Measurement one;                              // one disk under the load, the others idle
  Measurement all;                              // all of them at once
};

// `path.load.disks` disks, driven by one thread. Errors: as measure().
Expected<Scale> measure_scale(const DataPath& path);

std::string to_json(const DataPath& path, const Scale& seen);

}  // namespace xenblk::bench
