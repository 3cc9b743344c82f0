// Images that are right, in every shape: what they hold is known before they are opened, and each
// sector is compared while requests overlap, operations fail, and the image is closed or not.
#include "tests/fuzz/session.h"
#include "vhd/open_vhd.h"

namespace xenblk::fuzz {

void use_vhd(Input input) {
  Reader reader(input);
  MemoryContent content;
  const auto built = build_image(reader, content);
  const bool old_tap =
      content.size_bytes > 0 &&
      !vhd::open_vhd_image(std::make_unique<MemoryFile>(content, Access::read_only), 512);
  if (old_tap) return;
  SectorMap map(0);
  map.know(built.sectors);
  const std::array places{built.capacity_sectors - 1, built.capacity_sectors / 2};
  const vhd::VhdTuning tuning{.extent_bytes = reader.u8() * std::uint64_t{2048},
                              .bitmap_budget_bytes = reader.u8() * std::uint64_t{64}};
  for (int life = 0; life < 3; ++life) {
    const auto dice = reader.u8();
    const auto access = life == 2 || reader.empty() ? Access::read_only : Access::read_write;
    ShuffledEngine engine(dice, dice % 4 == 3 ? dice / 8 : 0);
    auto image = vhd::open_vhd_image(std::make_unique<MemoryFile>(content, access), 512, tuning);
    if (!image && built.block_sectors < 8) return;  // such small blocks are read-only
    FUZZ_EXPECT(image);
    content.transferred = 0;
    Session session(**image, map, engine);
    Reader part(reader.bytes(access == Access::read_only ? 0 : reader.u8()));
    session.run(part, built.block_sectors);
    session.read_all(places);
    if (dice % 8 < 6 && !(*image)->finish()) return;
  }
}

}  // namespace xenblk::fuzz
