// The disk that a power-cut run works on: an image, or a chain of them that operations make. Small,
// so that reading all of it takes microseconds.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/vhd/chain_builder.h"
#include "tests/vhd/power_cut/sector_model.h"
#include "tests/vhd/power_cut/sim_files.h"
#include "vhd/open_vhd.h"

namespace xenblk::power_cut {

enum class ScenarioKind : std::uint8_t {
  own,      // a new dynamic image
  foreign,  // a dynamic image of another program: sectors that were never written, and rubbish
            // there
  child,    // a differencing image on a chain of parents, all of different sizes
  device,   // either on a block device that was used before; no operations
};

// The first files are images, and behind them is the journal of each.
inline constexpr std::size_t kImages = 3;
inline constexpr std::size_t kFiles = 2 * kImages;
inline std::size_t journal_of(std::size_t image) {
  return kImages + image;
}
inline vhd::Uuid uuid_of(std::size_t image) {
  return {image == 0 ? std::byte{1} : static_cast<std::byte>(16 + image)};
}

struct Scenario {
  ScenarioKind kind = ScenarioKind::own;
  bool on_device = false;
  std::uint64_t sectors = 0;
  std::uint64_t sectors_max = 0;  // no resize goes beyond
  std::uint32_t block_bytes = 0;
  vhd::VhdTuning tuning;
  std::shared_ptr<test::ChainBuilder> parents;  // of a child; never changed

  // What operations change. The disk is the first image of the chain that is there.
  std::vector<std::size_t> chain{0};

  std::size_t top(const SimFiles& files) const;
};

Scenario choose_scenario(std::mt19937_64& random, std::optional<ScenarioKind> kind = {});
std::string describe(const Scenario& scenario);

// The files before the first life, and what is in them.
SimContents make_scenario(const Scenario& scenario, std::mt19937_64& random, SectorModel& model);

// Undoes what was interrupted, as opening on a host does first.
Expected<void> recover_scenario(SimFiles& files);
Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, SimFiles& files,
                                               Access access);
// What an image of the chain is based on.
Expected<vhd::Levels> open_levels(const Scenario& scenario, SimFiles& files, std::size_t image);
Expected<std::unique_ptr<Image>> open_one(const Scenario& scenario, SimFiles& files,
                                          std::size_t image, Access access);

}  // namespace xenblk::power_cut
