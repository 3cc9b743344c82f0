// Which parts of a buffer are worth writing: runs of zeroes that are long enough become holes.
// Pure.
#pragma once

#include <cstddef>
#include <span>

#include "xenblk/units.h"

namespace xenblk::vhd {

bool is_zero(std::span<const std::byte> data);

struct DataRun {
  SectorCount count;
  bool zero = false;
};

// The run at the start of `data`, which holds whole sectors from `first` of the disk. Runs begin
// and end at pages of the disk: a file system cannot leave out less.
DataRun next_run(std::span<const std::byte> data, SectorIndex first);

}  // namespace xenblk::vhd
