// The bitmaps of partial blocks, as many as a budget of memory allows. Any thread (locks itself).
// Allocates once, when it is made; takes memory for the bitmaps that it has.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "vhd/block_map.h"
#include "vhd/buffer_set.h"

namespace xenblk::vhd {

// Sectors that are alike: all there, or all never written.
struct BitmapRun {
  bool present = false;
  std::uint64_t sectors = 0;
};

// The run that begins at `sector`, at most `sectors_max` long. The first sector is the highest bit
// of the first byte.
BitmapRun bitmap_run(std::span<const std::byte> bits, std::uint64_t sector,
                     std::uint64_t sectors_max);

void set_bitmap_run(std::span<std::byte> bits, std::uint64_t sector, std::uint64_t sectors);

class BitmapCache {
 public:
  BitmapCache(std::uint64_t bitmap_bytes, std::uint64_t budget_bytes);

  // Nothing when the bitmap is not here.
  std::optional<BitmapRun> run(BlockIndex block, std::uint64_t sector, std::uint64_t sectors_max);
  // False when the bitmap is not here.
  bool copy(BlockIndex block, std::span<std::byte> bits);
  void insert(BlockIndex block, std::span<const std::byte> bits);

 private:
  // Four places a block may be in; the one that was unused for longest goes.
  static constexpr std::size_t kWays = 4;
  struct Line {
    std::optional<BlockIndex> block;
    std::uint64_t used = 0;
  };

  std::size_t first_line(BlockIndex block) const { return block.n % sets_ * kWays; }
  std::optional<std::size_t> find(BlockIndex block) const;

  std::mutex mutex_;
  std::uint64_t bitmap_bytes_;
  std::size_t sets_;
  std::uint64_t clock_ = 0;
  std::vector<Line> lines_;
  BufferSet bits_;  // of each line
};

}  // namespace xenblk::vhd
