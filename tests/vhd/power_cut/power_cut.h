// A VHD image under random work on a simulated storage, and after each change of a file the
// question what would be there if the process died or the power went right now: the image opens,
// read-only and for writing, every sector holds what was flushed or something written since, and it
// can be worked with on. Between stretches of work the disk is resized, gets a child, or is merged
// into its parent; cut off at any moment, each can be done again. Everything follows from the seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/vhd/power_cut/sabotage.h"
#include "tests/vhd/power_cut/scenario.h"

namespace xenblk::power_cut {

struct PowerCutPlan {
  std::uint64_t seed = 0;
  int lives = 3;          // each ends with a crash, and the next goes on with what that left
  int steps = 130;        // of the guest, in each life; and a third after each operation
  bool faults = false;    // operations fail now and then
  bool no_holes = false;  // the storage cannot make any
  Sabotage sabotage = Sabotage::none;
  std::optional<ScenarioKind> kind;  // any if not given
};

struct PowerCutResult {
  std::string wrong;  // empty when nothing was
  std::uint64_t kills = 0;
  std::uint64_t power_cuts = 0;
  std::uint64_t failed_requests = 0;
  std::uint64_t operations = 0;  // that were completed
  std::uint64_t cuts() const { return kills + power_cuts; }
  void add(const PowerCutResult& more) {
    kills += more.kills;
    power_cuts += more.power_cuts;
    failed_requests += more.failed_requests;
    operations += more.operations;
  }
};

PowerCutResult run_power_cuts(const PowerCutPlan& plan);

}  // namespace xenblk::power_cut
