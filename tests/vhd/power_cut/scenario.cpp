#include "tests/vhd/power_cut/scenario.h"

#include "tests/vhd/power_cut/content_file.h"
#include "tests/vhd/vhd_maker.h"
#include "vhd/create.h"
#include "vhd/operations/resize.h"
#include "vhd/read_vhd.h"

namespace xenblk::power_cut {

namespace {

// What programs leave where they have never written.
constexpr SectorValue kRubbish = 0x5757575757575757;

std::uint64_t any_size(std::mt19937_64& random, std::uint64_t about) {
  return about / 2 + random() % about + 200;
}

std::shared_ptr<test::ChainBuilder> make_parents(std::mt19937_64& random, std::uint64_t sectors) {
  auto chain = std::make_shared<test::ChainBuilder>(random());
  switch (random() % 3) {
    case 0:
      chain->add_raw(any_size(random, sectors));
      break;
    case 1:
      chain->add_fixed(any_size(random, sectors));
      break;
    default:
      chain->add_dynamic(any_size(random, sectors), 4096U << random() % 4, 8);
  }
  for (auto more = random() % 3; more > 0; --more) {
    chain->add_child(any_size(random, sectors), 4096U << random() % 4, 8);
  }
  return chain;
}

void make_empty(const Scenario& scenario, File& file) {
  [[maybe_unused]] const auto made = vhd::create_vhd(file, {.capacity = {scenario.sectors},
                                                            .block_bytes = scenario.block_bytes,
                                                            .uuid = uuid_of(0),
                                                            .created = vhd::VhdTime{}});
  assert(made);
}

// A third of the blocks is there, and half of those is there in part.
void make_foreign(const Scenario& scenario, std::mt19937_64& random, File& file,
                  std::span<std::byte> disk) {
  test::VhdMaker maker(file, {.capacity = {scenario.sectors}, .block_bytes = scenario.block_bytes});
  const auto block_sectors = scenario.block_bytes / kSectorBytes;
  test::Bytes data(scenario.block_bytes);
  for (std::uint64_t block = 0; block < maker.block_count(); ++block) {
    if (random() % 3 != 0) continue;
    test::Bytes bits(maker.bitmap_bytes());
    const bool whole = random() % 2 == 0;
    for (std::uint64_t s = 0; s < block_sectors; ++s) {
      const auto sector = block * block_sectors + s;
      const bool present = whole || random() % 2 == 0;
      if (present) bits[s / 8] |= std::byte{0x80} >> (s % 8);
      const auto value = present ? (SectorValue{1} << 50) + sector : kRubbish;
      const auto bytes = std::span(data).subspan(s * kSectorBytes).first<kSectorBytes>();
      fill_sector(bytes, value);
      if (present && sector < scenario.sectors) {
        std::ranges::copy(bytes, disk.subspan(sector * kSectorBytes).begin());
      }
    }
    maker.add_block(block, bits, data, random() % 3);
  }
  maker.close(random() % 8);
}

std::optional<std::size_t> image_with(const vhd::Uuid& uuid, const SimFiles& files) {
  for (std::size_t image = 0; image < kImages; ++image) {
    if (uuid_of(image) == uuid && files.has(image)) return image;
  }
  return {};
}

Expected<vhd::Levels> follow(const Scenario& scenario, SimFiles& files,
                             const vhd::ParentReference& reference) {
  vhd::Levels levels;
  for (auto wanted = std::optional(reference); wanted && levels.size() < kImages;) {
    const auto image = image_with(wanted->uuid, files);
    if (!image) {
      if (!scenario.parents || wanted->uuid != test::ChildOptions{}.parent_uuid) {
        return fail(Errc::not_found, "a parent is missing");
      }
      const auto& more = scenario.parents->levels();
      levels.insert(levels.end(), more.begin(), more.end());
      return levels;
    }
    const auto level =
        vhd::open_level(files.open(*image, Access::read_only), vhd::Format::vhd, 4096);
    if (!level) return std::unexpected(level.error());
    levels.push_back(*level);
    wanted = (*level)->facts().parent;
  }
  return levels;
}

// The footer goes to the device's end, and what is free holds anything.
void move_to_device(const Scenario& scenario, File& file) {
  vhd::FooterBytes footer;
  const auto old_end = file.size_bytes().value() - vhd::kFooterBytes;
  [[maybe_unused]] const auto read = file.read_at(old_end, footer);
  const auto end = old_end / kPageBytes * kPageBytes + 3 * scenario.sectors * kSectorBytes;
  const test::Bytes garbage(end - old_end, std::byte{0xee});
  [[maybe_unused]] const auto filled = file.write_at(old_end, garbage);
  [[maybe_unused]] const auto moved = file.write_at(end, footer);
}

}  // namespace

Scenario choose_scenario(std::mt19937_64& random, std::optional<ScenarioKind> kind) {
  Scenario scenario;
  const auto any = static_cast<ScenarioKind>(random() % 4);
  scenario.kind = kind.value_or(any);
  scenario.block_bytes = 4096U << (random() % 4);
  // Up to a hundred blocks; from 4 KiB blocks up to three sectors of the table.
  const auto blocks = scenario.block_bytes == 4096 ? 100 + random() % 200 : 5 + random() % 60;
  const auto block_sectors = scenario.block_bytes / kSectorBytes;
  scenario.sectors = blocks * block_sectors - random() % block_sectors;
  scenario.sectors_max = scenario.sectors + scenario.sectors / 2;
  scenario.tuning.extent_bytes = std::uint64_t{scenario.block_bytes} * (1 + random() % 12);
  scenario.tuning.bitmap_budget_bytes = 4096;
  scenario.on_device = scenario.kind == ScenarioKind::device;
  if (scenario.kind == ScenarioKind::child || (scenario.on_device && random() % 2 == 0)) {
    scenario.parents = make_parents(random, scenario.sectors);
  }
  return scenario;
}

std::string describe(const Scenario& scenario) {
  constexpr std::array kKinds{"own", "foreign", "child", "device"};
  return std::string(kKinds.at(static_cast<std::size_t>(scenario.kind))) +
         (scenario.on_device && scenario.parents ? " with a child, " : ", ") +
         std::to_string(scenario.sectors) + " sectors, blocks of " +
         std::to_string(scenario.block_bytes) + " bytes";
}

SimContents make_scenario(const Scenario& scenario, std::mt19937_64& random, SectorModel& model) {
  SimContents contents(kFiles);
  ContentFile file(contents[0], Access::read_write);
  test::Bytes disk(scenario.sectors_max * kSectorBytes);
  if (scenario.parents) {
    test::make_child(file, {.capacity = {scenario.sectors}, .block_bytes = scenario.block_bytes});
    disk = scenario.parents->content(scenario.sectors_max);
  } else if (scenario.kind == ScenarioKind::foreign) {
    make_foreign(scenario, random, file, disk);
  } else {
    make_empty(scenario, file);
  }
  if (scenario.on_device) move_to_device(scenario, file);
  model.rebase(0, disk);
  return contents;
}

std::size_t Scenario::top(const SimFiles& files) const {
  return *std::ranges::find_if(chain, [&](std::size_t image) { return files.has(image); });
}

Expected<void> recover_scenario(SimFiles& files) {
  for (std::size_t image = 0; image < kImages; ++image) {
    SimJournal journal(files, journal_of(image));
    if (!files.has(journal_of(image))) continue;
    const auto refused = vhd::recover_resize(*files.open(image, Access::read_only), journal);
    if (refused || refused.error().code != Errc::unsupported_image) {
      return fail(Errc::io, "a reader takes no notice of a journal");
    }
    const auto recovered = vhd::recover_resize(*files.open(image, Access::read_write), journal);
    if (!recovered) return std::unexpected(recovered.error());
  }
  return {};
}

Expected<vhd::Levels> open_levels(const Scenario& scenario, SimFiles& files, std::size_t image) {
  const auto contents = vhd::read_vhd(*files.open(image, Access::read_only));
  if (!contents) return std::unexpected(contents.error());
  if (!contents->layout->is_differencing()) return vhd::Levels{};
  return follow(scenario, files, vhd::parent_reference(*contents->layout));
}

Expected<std::unique_ptr<Image>> open_one(const Scenario& scenario, SimFiles& files,
                                          std::size_t image, Access access) {
  return vhd::open_vhd_image(
      files.open(image, access), kSectorBytes, scenario.tuning,
      [&](const vhd::ParentReference& reference) { return follow(scenario, files, reference); });
}

Expected<std::unique_ptr<Image>> open_scenario(const Scenario& scenario, SimFiles& files,
                                               Access access) {
  return open_one(scenario, files, scenario.top(files), access);
}

}  // namespace xenblk::power_cut
