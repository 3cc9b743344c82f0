// A storage with a bug in it, or an image whose syncs got lost: what the tests of the test run on.
#pragma once

#include <cstdint>

#include "tests/vhd/power_cut/sim_storage.h"

namespace xenblk::power_cut {

enum class Sabotage : std::uint8_t {
  none,
  syncs_do_nothing,
  syncs_are_skipped,     // one in four
  data_is_late,          // a guest's data outlives one sync, so what refers to it is there before
  table_is_late,         // the same of what the table says
  footer_is_not_synced,  // when a sync would have to make a footer's new place durable
  journal_is_not_synced,
};

// The storage outlives its hooks.
void sabotage(SimStorage& storage, Sabotage how);

}  // namespace xenblk::power_cut
