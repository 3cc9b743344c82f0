#include "tests/vhd/power_cut/scenario.h"

#include "tests/vhd/power_cut/content_file.h"
#include "vhd/create.h"

namespace xenblk::power_cut {

Scenario choose_scenario(std::mt19937_64& random) {
  Scenario scenario;
  scenario.block_bytes = 4096U << (random() % 4);
  // Up to a hundred blocks; from 4 KiB blocks up to three sectors of the table.
  const auto blocks = scenario.block_bytes == 4096 ? 100 + random() % 200 : 5 + random() % 60;
  const auto block_sectors = scenario.block_bytes / kSectorBytes;
  scenario.sectors = blocks * block_sectors - random() % block_sectors;
  scenario.tuning = {.extent_bytes = std::uint64_t{scenario.block_bytes} * (1 + random() % 12),
                     .bitmap_budget_bytes = 4096};
  return scenario;
}

std::string describe(const Scenario& scenario) {
  return std::to_string(scenario.sectors) + " sectors, blocks of " +
         std::to_string(scenario.block_bytes) + " bytes";
}

SimContents make_scenario(const Scenario& scenario, std::mt19937_64&, SectorModel&) {
  SimContents contents(1);
  ContentFile file(contents[0], Access::read_write);
  const auto made = vhd::create_vhd(file, {.capacity = {scenario.sectors},
                                           .block_bytes = scenario.block_bytes,
                                           .uuid = vhd::Uuid{},
                                           .created = vhd::VhdTime{}});
  assert(made);
  return contents;
}

Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, const OpenFile& open,
                                               Access access) {
  return vhd::open_vhd_image(open(0, access), kSectorBytes, scenario.tuning);
}

Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, SimStorage& storage) {
  return open_scenario(
      scenario,
      [&](std::size_t number, Access access) {
        return std::make_unique<SimFile>(storage, number, access);
      },
      Access::read_write);
}

}  // namespace xenblk::power_cut
