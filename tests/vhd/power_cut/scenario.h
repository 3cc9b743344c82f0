// The image that a power-cut run works on: small, so that reading all of it takes microseconds.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/power_cut/sector_model.h"
#include "tests/vhd/power_cut/sim_storage.h"
#include "vhd/open_vhd.h"

namespace xenblk::power_cut {

enum class ScenarioKind : std::uint8_t {
  own,      // a new dynamic image
  foreign,  // a dynamic image of another program: sectors that were never written, and rubbish
            // there
  child,    // a differencing image on a chain of parents, all of different sizes
};

struct Scenario {
  ScenarioKind kind = ScenarioKind::own;
  std::uint64_t sectors = 0;
  std::uint32_t block_bytes = 0;
  vhd::VhdTuning tuning;
  std::shared_ptr<test::ChainBuilder> parents;  // of a child; never changed
};

Scenario choose_scenario(std::mt19937_64& random, std::optional<ScenarioKind> kind = {});
std::string describe(const Scenario& scenario);

// The files before the first life, and what is in them.
SimContents make_scenario(const Scenario& scenario, std::mt19937_64& random, SectorModel& model);

using OpenFile = std::function<std::unique_ptr<File>(std::size_t number, Access access)>;
Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, const OpenFile& open,
                                               Access access);
Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, SimStorage& storage);

}  // namespace xenblk::power_cut
