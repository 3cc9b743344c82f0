#include "vhd/chain/chain.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "vhd/block_part.h"

namespace xenblk::vhd {
namespace {

// Looked at to resolve a block. One that takes more, because its parents have much smaller blocks,
// counts as mixed: a request must not wait for a walk over all of them.
constexpr int kRunsMax = 256;

Source zeroes(SectorCount count, bool whole_blocks) {
  return {.kind = Source::Kind::zeroes, .count = count, .whole_blocks = whole_blocks};
}

Source flat(const Level& level, SectorIndex first, SectorCount count) {
  return {.kind = Source::Kind::file,
          .count = count,
          .file = &level.file(),
          .offset = first.n * kSectorBytes};
}

// What one level with blocks has; `zeroes` means that those below must be asked.
Source in_blocks(BlockLevel& level, SectorIndex first, SectorCount count) {
  const SectorCount block_sectors{level.shape.block_sectors()};
  const auto block = block_at(first, block_sectors);
  const auto sector = sector_in_block(first, block_sectors);
  const auto run = level.look(block, sector, {std::min(count.n, block_sectors.n - sector.n)});
  Source source = zeroes(run.count, run.whole_block);
  switch (run.presence) {
    case Presence::absent:
      break;
    case Presence::present:
      source.kind = Source::Kind::file;
      source.file = &level.file;
      source.offset = level.shape.data_offset(run.entry) + sector.n * kSectorBytes;
      break;
    case Presence::unknown:
      source.kind = Source::Kind::unknown;
      source.level = &level;
      source.block = block;
      break;
  }
  return source;
}

Source in_level(Level& level, SectorIndex first, SectorCount count) {
  auto* const blocks = level.blocks();
  return blocks != nullptr ? in_blocks(*blocks, first, count) : flat(level, first, count);
}

// From the level at `depth` on, the leaf's parent being 1.
Source find_from(const Levels& levels, std::size_t depth, SectorIndex first, SectorCount count) {
  bool whole_blocks = true;
  for (; depth <= levels.size(); ++depth) {
    auto& level = *levels[depth - 1];
    const auto capacity = level.facts().capacity;
    if (first.n >= capacity.n) break;
    count = {std::min(count.n, capacity.n - first.n)};
    auto source = in_level(level, first, count);
    count = source.count;
    source.whole_blocks = whole_blocks = whole_blocks && source.whole_blocks;
    source.depth = depth;
    if (source.kind != Source::Kind::zeroes) return source;
  }
  return zeroes(count, whole_blocks);
}

}  // namespace

Source find_source(const Levels& levels, SectorIndex first, SectorCount count) {
  return find_from(levels, 1, first, count);
}

Chain::Chain(Levels levels, const Leaf& leaf)
    : levels_(std::move(levels)),
      leaf_(leaf),
      resolved_(levels_.empty() ? 0 : divide_up(leaf.capacity.n, leaf.block_sectors.n)) {}

Source Chain::find(SectorIndex first, SectorCount count) {
  if (levels_.empty()) return zeroes(count, true);
  const auto known = resolution(block_at(first, leaf_.block_sectors));
  if (known == kAbsent) return zeroes(count, true);
  return find_from(levels_, known < kLevel ? 1 : known - kLevel, first, count);
}

bool Chain::is_absent(BlockIndex block) {
  return levels_.empty() || resolution(block) == kAbsent;
}

std::uint8_t Chain::resolution(BlockIndex block) {
  assert(block.n < resolved_.size());
  auto& known = resolved_[block.n];
  const auto before = known.load(std::memory_order_relaxed);
  if (before != kUnknown) return before;
  // Whoever else does the same at this moment comes to the same result.
  const auto now = resolve(block);
  known.store(now, std::memory_order_relaxed);
  return now;
}

std::uint8_t Chain::resolve(BlockIndex block) const {
  auto first = block.n * leaf_.block_sectors.n;
  const auto end = std::min(first + leaf_.block_sectors.n, leaf_.capacity.n);
  auto all = kUnknown;
  for (int runs = 0; first < end; ++runs) {
    const auto source = find_source(levels_, {first}, {end - first});
    if (source.kind == Source::Kind::unknown) return kUnknown;
    const auto here = source.kind == Source::Kind::zeroes
                          ? kAbsent
                          : static_cast<std::uint8_t>(kLevel + source.depth);
    if (all == kUnknown) all = here;
    if (here != all || !source.whole_blocks || runs == kRunsMax) return kMixed;
    first += source.count.n;
  }
  return all;
}

}  // namespace xenblk::vhd
