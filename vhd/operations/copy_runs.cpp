#include "vhd/operations/copy_runs.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace xenblk::vhd {
namespace {

// A shorter hole between data costs an extent of the file system and a request more, and saves
// little.
constexpr std::uint64_t kHoleSectorsMin = 8 * kSectorsPerPage;

// From `first` to the end of its page of the disk, or of the data.
std::uint64_t page_part(std::uint64_t first, std::uint64_t sectors) {
  return std::min(kSectorsPerPage - first % kSectorsPerPage, sectors);
}

// How many sectors at the start of the data are zero pages, or are not.
std::uint64_t alike(std::span<const std::byte> data, std::uint64_t first, bool zero) {
  const auto sectors = data.size() / kSectorBytes;
  std::uint64_t count = 0;
  while (count < sectors) {
    const auto part = page_part(first + count, sectors - count);
    if (is_zero(data.subspan(count * kSectorBytes, part * kSectorBytes)) != zero) break;
    count += part;
  }
  return count;
}

}  // namespace

bool is_zero(std::span<const std::byte> data) {
  constexpr std::size_t kFirst = 16;
  const auto head = data.first(std::min(kFirst, data.size()));
  if (std::ranges::any_of(head, [](std::byte byte) { return byte != std::byte{0}; })) return false;
  if (data.size() <= kFirst) return true;
  // Each byte is like the one that lies kFirst before it, and those are zero.
  return std::memcmp(data.data(), data.data() + kFirst, data.size() - kFirst) == 0;
}

DataRun next_run(std::span<const std::byte> data, SectorIndex first) {
  assert(!data.empty() && data.size() % kSectorBytes == 0);
  const auto sectors = data.size() / kSectorBytes;
  if (const auto zeroes = alike(data, first.n, true); zeroes > 0) return {{zeroes}, true};
  std::uint64_t count = 0;
  while (count < sectors) {
    count += alike(data.subspan(count * kSectorBytes), first.n + count, false);
    const auto zeroes = alike(data.subspan(count * kSectorBytes), first.n + count, true);
    if (zeroes >= kHoleSectorsMin || count + zeroes == sectors) break;
    count += zeroes;
  }
  return {{count}, false};
}

}  // namespace xenblk::vhd
