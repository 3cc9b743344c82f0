// The statistics of disks in the files and the layout in which xapi's xcp-rrdd reads those of
// tapdisk, so that its graphs show our disks too.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "backend/control/status_json.h"
#include "xenblk/error.h"

namespace xenblk::control {

// tapdisk's `struct stats`, version 1: a 32-bit version and padding, then 64-bit numbers: requests
// for which there was no memory; reads submitted, completed, sectors, microseconds; the same of
// writes; errors; flags. (blktap, drivers/tapdisk-metrics-stats.h.)
using TapdiskStatistics = std::array<std::byte, 96>;
TapdiskStatistics tapdisk_statistics(const backend::DeviceStatus& status);

// tapdisk's `struct blkback_stats`: 64-bit numbers: discards, flushes, requests without memory;
// reads received, completed, sectors, microseconds, longest; the same of writes; flags. (blktap,
// include/blktap3.h.)
using BlkbackStatistics = std::array<std::byte, 112>;
BlkbackStatistics blkback_statistics(const backend::DeviceStatus& status);

// Keeps td3-<process>/vbd-<guest>-<device> and vbd3-<guest>-<device>/statistics below a directory,
// which is /dev/shm but for tests, and removes them with itself. Pinned; one thread.
class XapiFiles {
 public:
  XapiFiles(std::string directory, int process);
  ~XapiFiles();
  XapiFiles(const XapiFiles&) = delete;
  XapiFiles& operator=(const XapiFiles&) = delete;

  // Writes the numbers of these disks, and removes the files of those that are gone. Nothing that
  // somebody else has put there is written to. Errors: io, permission; the first one.
  Expected<void> update(const std::vector<NamedDisk>& disks);

 private:
  struct Disk {
    bool seen = false;
  };
  Expected<void> write_disk(const NamedDisk& disk);
  void remove_disk(const std::string& numbers);
  std::string own_directory() const { return directory_ + "/td3-" + std::to_string(process_); }

  const std::string directory_;
  const int process_;
  std::map<std::string, Disk> disks_;  // by "<guest>-<device>"
};

}  // namespace xenblk::control
