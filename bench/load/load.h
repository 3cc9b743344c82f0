// What guests are to do in one measurement, as values, and the sequence of their operations.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "xenblk/blkif.h"
#include "xenblk/units.h"

namespace xenblk::bench {

enum class Pattern : std::uint8_t { read, write, randread, randwrite, randrw };

std::optional<Pattern> parse_pattern(std::string_view name);
std::string_view name_of(Pattern pattern);
bool writes(Pattern pattern);

struct Load {
  Pattern pattern = Pattern::randread;
  std::uint32_t block_bytes = 4096;  // of one operation of the guest
  std::uint32_t depth = 1;           // operations in flight, of one disk, over all its queues
  std::uint32_t queues = 1;          // of one disk
  std::uint32_t disks = 1;
  std::uint32_t segments = blkif::kMaxSegments;  // of a request at most; more make it indirect
  blkif::Layout layout = blkif::Layout::native;
  std::chrono::nanoseconds duration = std::chrono::seconds(1);
  // How long whoever makes the load looks for the next completion before it sleeps, as a processor
  // does that polls before it halts. A wake-up of a thread here costs more than one on a machine.
  std::chrono::nanoseconds polling{};
};

struct Operation {
  bool write = false;
  SectorIndex first;
};

// The operations of one disk, in order: random ones are drawn from the blocks of the whole disk and
// randrw writes three of ten, as fio's defaults are; sequential ones begin again at the end.
class Sequence {
 public:
  // The disk has room for at least one block.
  Sequence(const Load& load, SectorCount capacity, std::uint64_t seed);
  Operation next();

 private:
  std::uint64_t random();

  Pattern pattern_;
  std::uint64_t block_sectors_;
  std::uint64_t blocks_;
  std::uint64_t next_block_ = 0;
  std::uint64_t state_;
};

}  // namespace xenblk::bench
