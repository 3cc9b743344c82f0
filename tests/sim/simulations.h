// What xenblk-sim can run: each takes a seed and says what was wrong, and how much it has done.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace xenblk::sim {

struct Simulation {
  std::string name;
  std::function<std::string(std::uint64_t seed)> run;  // empty: nothing was wrong
  std::function<std::string(double seconds)> summary;  // of all seeds so far
};

// Names as the command line has them: "system", "vhd".
Simulation make_simulation(const std::string& name, const std::string& sabotage, bool verbose);

}  // namespace xenblk::sim
