// Images that are damaged, or were never one: opened read-only, then for writing, used, closed, and
// opened again. Whatever can be opened must hold together: what was read stays, what was written is
// there.
#include "tests/fuzz/chain.h"
#include "tests/fuzz/session.h"

namespace xenblk::fuzz {
namespace {

constexpr vhd::VhdTuning kTuning{.extent_bytes = 64 * 1024, .bitmap_budget_bytes = 4096};

struct Uses {
  Files& files;
  SectorMap& map;
  std::span<const std::uint64_t> places;
  std::uint64_t seed = 0;

  Expected<std::unique_ptr<Image>> open(Access access) const {
    auto image = open_chain(files, access, kTuning);
    if (!image) FUZZ_EXPECT(!image.error().text.empty());
    return image;
  }
  bool read_all() const {
    const auto image = open(Access::read_only);
    if (!image) return false;
    ShuffledEngine engine(seed, 0);
    Session(**image, map, engine).read_all(places);
    return true;
  }
};

}  // namespace

void open_vhd(Input input) {
  Reader reader(input);
  Files files;
  std::uint64_t block_sectors = 8;
  switch (reader.u8() % 8) {
    case 7:
      build_raw(reader, files.emplace_back());
      break;
    case 6:
      block_sectors = build_chain(reader, files).block_sectors;
      for (auto& file : files) damage(reader, file);
      break;
    case 5:
      // With room for more, and the footer where it was: as after copying an image to a device.
      block_sectors = build_image(reader, files.emplace_back()).block_sectors;
      files.back().resize(files.back().size_bytes + reader.u8() * std::uint64_t{4096});
      files.back().is_device = true;
      break;
    default:
      block_sectors = build_image(reader, files.emplace_back()).block_sectors;
      damage(reader, files.back());
      break;
  }
  std::array<std::uint64_t, 4> places;
  for (auto& place : places) place = reader.u64() >> reader.below(64);
  SectorMap map(std::nullopt);
  const Uses uses{files, map, places, reader.u8()};
  const bool readable = uses.read_all();
  {
    ShuffledEngine engine(uses.seed, 0);
    auto image = uses.open(Access::read_write);
    if (!image) return;
    FUZZ_EXPECT(readable);
    Session(**image, map, engine).run(reader, block_sectors);
    Session(**image, map, engine).read_all(places);
    if (!(*image)->finish()) return;  // the content is used up
  }
  for (auto& file : files) file.transferred = 0;
  FUZZ_EXPECT(uses.read_all());
}

}  // namespace xenblk::fuzz
