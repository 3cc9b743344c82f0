// The image that a power-cut run works on: small, so that reading all of it takes microseconds.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>

#include "tests/vhd/power_cut/sector_model.h"
#include "tests/vhd/power_cut/sim_storage.h"
#include "vhd/open_vhd.h"

namespace xenblk::power_cut {

struct Scenario {
  std::uint64_t sectors = 0;
  std::uint32_t block_bytes = 0;
  vhd::VhdTuning tuning;
};

Scenario choose_scenario(std::mt19937_64& random);
std::string describe(const Scenario& scenario);

// The files before the first life, and what is in them.
SimContents make_scenario(const Scenario& scenario, std::mt19937_64& random, SectorModel& model);

using OpenFile = std::function<std::unique_ptr<File>(std::size_t number, Access access)>;
Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, const OpenFile& open,
                                               Access access);
Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, SimStorage& storage);

}  // namespace xenblk::power_cut
