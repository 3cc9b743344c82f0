// One file on a simulated storage, for tests that need no more.
#pragma once

#include "tests/vhd/power_cut/sim_storage.h"

namespace xenblk::test {

using SimDisk = SimStorage;

}  // namespace xenblk::test
