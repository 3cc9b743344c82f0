// What is done to whole images, one after the other, to an image or a chain that may be damaged.
// Whatever could be read before can be read after it and is the same, also where the operation
// fails in the middle.
#include "tests/fuzz/lab.h"

namespace xenblk::fuzz {

void operations(Input input) {
  Reader reader(input);
  Files files;
  const auto damages = reader.u8();
  const auto built = build_chain(reader, files);
  std::optional<KnownSectors> known;
  if (damages % 2 == 0) known = built.sectors;
  for (std::size_t i = 0; i < files.size() && !known; ++i) {
    if ((damages >> (1 + i) & 1) == 0) damage(reader, files[i]);
  }
  Lab lab(std::move(files), built, known);
  constexpr int kStepsMax = 6;
  for (int step = 0; step < kStepsMax && !reader.empty() && !lab.is_given_up(); ++step)
    lab.step(reader);
}

}  // namespace xenblk::fuzz
