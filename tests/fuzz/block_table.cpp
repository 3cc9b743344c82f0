#include "vhd/format/block_table.h"

#include <algorithm>

#include "tests/fuzz/reader.h"

namespace xenblk::fuzz {
namespace {

// What check_block_table() promises, one pair at a time.
bool is_sound(std::span<const std::uint32_t> entries, const vhd::BlockTableLimits& limits) {
  std::vector<vhd::ByteRange> taken(limits.metadata.begin(), limits.metadata.end());
  for (const auto entry : entries) {
    if (entry == vhd::kUnusedBlock) continue;
    const auto range = limits.shape.range(entry);
    if (range.end() > limits.end_of_blocks) return false;
    if (std::ranges::any_of(taken, [&](const auto& other) { return range.overlaps(other); })) {
      return false;
    }
    taken.push_back(range);
  }
  return true;
}

std::uint64_t end_of(std::span<const std::uint32_t> entries, const vhd::BlockShape& shape) {
  std::uint64_t end = 0;
  for (const auto entry : entries) {
    if (entry != vhd::kUnusedBlock) end = std::max(end, shape.range(entry).end());
  }
  return end;
}

}  // namespace

void block_table(Input input) {
  Reader reader(input);
  vhd::BlockTableLimits limits;
  limits.shape.block_bytes = 512U << reader.below(20);
  limits.end_of_blocks = reader.u8() % 4 == 0 ? reader.u64() >> 8 : reader.u32();
  const std::array<vhd::ByteRange, 2> metadata{
      vhd::ByteRange{0, 512}, vhd::ByteRange{reader.u16() * std::uint64_t{512}, reader.u16()}};
  limits.metadata = metadata;
  const auto small = reader.u8();  // so that blocks meet
  std::vector<std::uint32_t> entries;
  while (!reader.empty() && entries.size() < 64) {
    const auto entry = reader.u32();
    entries.push_back(small % 2 == 0 ? entry % 4096 : entry);
  }
  std::vector<std::byte> bytes(entries.size() * 4);
  vhd::write_block_table(bytes, entries);
  FUZZ_EXPECT(vhd::parse_block_table(bytes) == entries);
  const auto end = vhd::check_block_table(entries, limits);
  FUZZ_EXPECT(end.has_value() == is_sound(entries, limits));
  if (end) FUZZ_EXPECT(*end == end_of(entries, limits.shape));
}

}  // namespace xenblk::fuzz
