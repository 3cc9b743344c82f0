// Images that are right, in every shape: what they hold is known before they are opened, and each
// sector is compared while requests overlap, operations fail, and the image is closed or not.
#include "tests/fuzz/chain.h"
#include "tests/fuzz/session.h"

namespace xenblk::fuzz {
namespace {

void live(Reader& reader, Files& files, const Built& built) {
  SectorMap map(0);
  map.know(built.sectors);
  const std::array places{built.capacity_sectors - 1, built.capacity_sectors / 2};
  const vhd::VhdTuning tuning{.extent_bytes = reader.u8() * std::uint64_t{2048},
                              .bitmap_budget_bytes = reader.u8() * std::uint64_t{64}};
  for (int life = 0; life < 3; ++life) {
    const auto dice = reader.u8();
    const auto access = life == 2 || reader.empty() ? Access::read_only : Access::read_write;
    ShuffledEngine engine(dice, dice % 4 == 3 ? dice / 8 : 0);
    auto image = open_chain(files, access, tuning);
    if (!image && built.block_sectors < 8) return;  // such small blocks are read-only
    FUZZ_EXPECT_OK(image);
    for (auto& file : files) file.transferred = 0;
    Session session(**image, map, engine);
    Reader part(reader.bytes(access == Access::read_only ? 0 : reader.u8()));
    session.run(part, built.block_sectors);
    session.read_all(places);
    if (dice % 8 < 6 && !(*image)->finish()) return;
  }
}

}  // namespace

void use_vhd(Input input) {
  Reader reader(input);
  Files files(1);
  const auto built = build_image(reader, files.front());
  if (!built.refused) live(reader, files, built);
}

void use_chain(Input input) {
  Reader reader(input);
  Files files;
  const auto built = build_chain(reader, files);
  if (!built.refused) live(reader, files, built);
}

}  // namespace xenblk::fuzz
