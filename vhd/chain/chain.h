// What lies below a leaf: its parents, and for each block of the leaf a byte that says what all of
// them together have there, so that the chain's depth costs nothing once that is known. Parents do
// not change while they are open, so what was found out once stays true. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "vhd/chain/level.h"

namespace xenblk::vhd {

// Where the next sectors come from.
struct Source {
  enum class Kind : std::uint8_t { zeroes, file, unknown };
  Kind kind = Kind::zeroes;
  SectorCount count;
  std::size_t depth = 0;        // file, unknown: the leaf's parent is 1
  File* file = nullptr;         // file
  std::uint64_t offset = 0;     // file
  BlockLevel* level = nullptr;  // unknown: the bitmap of `block` there must be read first
  BlockIndex block;
  bool whole_blocks = true;  // known without a bitmap
};

// The run that begins at `first`, at most `count` long, as a disk whose content is `levels` has it.
// Beyond a parent's end, and below the last one, there are zeroes.
Source find_source(const Levels& levels, SectorIndex first, SectorCount count);

class Chain {
 public:
  struct Leaf {
    SectorCount block_sectors;
    SectorCount capacity;
  };
  Chain(Levels levels, const Leaf& leaf);

  // Within one block of the leaf.
  Source find(SectorIndex first, SectorCount count);
  // True when it is known that all below this block of the leaf are zeroes.
  bool is_absent(BlockIndex block);

  const Levels& levels() const { return levels_; }

 private:
  // What is below one block of the leaf. A number from `level` on is a depth: all of it lies in
  // whole blocks there.
  static constexpr std::uint8_t kUnknown = 0;
  static constexpr std::uint8_t kAbsent = 1;
  static constexpr std::uint8_t kMixed = 2;
  static constexpr std::uint8_t kLevel = 3;

  std::uint8_t resolution(BlockIndex block);
  std::uint8_t resolve(BlockIndex block) const;

  const Levels levels_;
  const Leaf leaf_;
  std::vector<std::atomic<std::uint8_t>> resolved_;
};

}  // namespace xenblk::vhd
