// One file on a simulated storage, for tests that need no more.
#pragma once

#include "tests/vhd/power_cut/sim_storage.h"

namespace xenblk::test {

using SimDisk = power_cut::SimStorage;
using power_cut::SimEngine;
using power_cut::SimFile;

}  // namespace xenblk::test
