// What many disks cost beside the work they do: connecting them, their memory, keeping them while
// they are idle, and the requests of a few among them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/load/data_path.h"

namespace xenblk::bench {

struct Scale {
  std::chrono::nanoseconds connect_each{};  // of a disk, with all its queues
  double memory_bytes_each = 0;             // private memory of a disk, without its ring pages
  double idle_cpu_share = 0;                // of one CPU, all disks connected and none in use
  Measurement busy;                         // a few disks under the load, the others idle
};

// `path.load.disks` disks, of which up to four are loaded. Errors: as measure().
Expected<Scale> measure_scale(const DataPath& path);

std::string to_json(const DataPath& path, const Scale& seen);

}  // namespace xenblk::bench
