// A load for benchmarks and for verification: so many requests of one kind through one queue, a
// fixed number of them in flight.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backend/platform/loopback/frontend_queue.h"

namespace xenblk::loopback {

enum class Order : std::uint8_t { sequential, random };
// What a write puts into a sector and a verifying read expects there depends on the sector and the
// seed.
enum class Content : std::uint8_t { ignored, pattern };

struct Load {
  blkif::Op op = blkif::Op::read;  // read or write
  Order order = Order::sequential;
  Content content = Content::ignored;
  SectorIndex first;  // the part of the disk that is used, in whole requests
  SectorCount length;
  SectorCount request = {kSectorsPerPage};
  std::uint32_t depth = 32;
  std::uint64_t requests = 0;
  std::uint64_t seed = 1;
  Patience patience;
};

struct LoadResult {
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;      // with a status that is not okay
  std::uint64_t mismatched = 0;  // reads with other content than the pattern
  // A rule that the backend broke, or that it stopped answering.
  std::optional<std::string> violation;

  bool clean() const { return failed == 0 && mismatched == 0 && !violation; }
};

// Runs it on the calling thread.
LoadResult run_load(FrontendQueue& queue, const Load& load);

void fill_pattern(std::span<std::byte> data, SectorIndex first, std::uint64_t seed);
bool has_pattern(std::span<const std::byte> data, SectorIndex first, std::uint64_t seed);

}  // namespace xenblk::loopback
