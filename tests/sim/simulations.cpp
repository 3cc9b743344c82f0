#include "tests/sim/simulations.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "tests/sim/system/plan.h"
#include "tests/vhd/power_cut/power_cut.h"

namespace xenblk::sim {
namespace {

Simulation vhd_simulation() {
  using power_cut::PowerCutResult;
  const auto all = std::make_shared<PowerCutResult>();
  return {.name = "vhd",
          .run =
              [all](std::uint64_t seed) {
                const auto result =
                    power_cut::run_power_cuts({.seed = seed, .faults = seed % 4 == 0});
                all->add(result);
                return result.wrong;
              },
          .summary =
              [all](double seconds) {
                return fmt::format("{} kills, {} power cuts, {} operations: {:.0f} cuts a second",
                                   all->kills, all->power_cuts, all->operations,
                                   static_cast<double>(all->cuts()) / std::max(seconds, 0.001));
              }};
}

Sabotage sabotage_named(const std::string& name) {
  if (name == "flush_dropped") return Sabotage::flush_dropped;
  if (name == "request_lost") return Sabotage::request_lost;
  if (name == "read_too_early") return Sabotage::read_too_early;
  if (name == "write_misplaced") return Sabotage::write_misplaced;
  if (name == "answered_twice") return Sabotage::answered_twice;
  if (name == "fetched_twice") return Sabotage::fetched_twice;
  if (name == "unmapped_late") return Sabotage::unmapped_late;
  if (name == "slot_leaked") return Sabotage::slot_leaked;
  return Sabotage::none;
}

Simulation system_simulation(const std::string& sabotage, bool verbose) {
  const auto all = std::make_shared<SystemResult>();
  const SystemPlan plan{.sabotage = sabotage_named(sabotage), .verbose = verbose};
  return {.name = "system",
          .run =
              [all, plan](std::uint64_t seed) {
                auto mine = plan;
                mine.seed = seed;
                const auto result = run_system(mine);
                all->add(result);
                return result.wrong;
              },
          .summary =
              [all](double) {
                return fmt::format(
                    "{} requests ({} wrong on purpose, {} failed for a fault), {} abuses, {} "
                    "crashes looked at, {} restarts, {} kills, {} connections",
                    all->requests, all->refused, all->failed, all->abuses, all->crashes,
                    all->restarts, all->kills, all->connections);
              }};
}

}  // namespace

Simulation make_simulation(const std::string& name, const std::string& sabotage, bool verbose) {
  return name == "vhd" ? vhd_simulation() : system_simulation(sabotage, verbose);
}

}  // namespace xenblk::sim
