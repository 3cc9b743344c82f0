// What is done to a whole disk between its runs: each may be cut off at any moment, and then be
// done again.
#pragma once

#include <random>
#include <string>

#include "tests/vhd/power_cut/scenario.h"

namespace xenblk::power_cut {

enum class OperationKind : std::uint8_t { resize, snapshot, coalesce };

struct Operation {
  OperationKind kind = OperationKind::resize;
  std::uint64_t sectors = 0;  // of the disk, when it is done
  std::size_t image = 0;      // the new child; the child that is merged
};

Operation choose_operation(const Scenario& scenario, std::uint64_t sectors,
                           std::mt19937_64& random);
std::string describe(const Operation& operation);

// On files with nothing to be undone, none of them open. Errc::refused: nothing was changed.
Expected<void> run_operation(const Operation& operation, const Scenario& scenario, SimFiles& files);
// What the chain is afterwards.
void complete_operation(const Operation& operation, Scenario& scenario);

}  // namespace xenblk::power_cut
