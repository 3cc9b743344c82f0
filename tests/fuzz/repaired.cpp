#include "tests/fuzz/repaired.h"

#include <algorithm>

#include "tests/fuzz/targets.h"
#include "tests/vhd/memory_store.h"
#include "vhd/operations/check.h"
#include "vhd/operations/repair.h"

namespace xenblk::fuzz {
namespace {

constexpr std::uint64_t kBlocksMax = 64;
constexpr std::uint64_t kBytesMax = 16384;

std::vector<std::byte> bytes_at(const MemoryContent& content, std::uint64_t offset,
                                std::uint64_t bytes) {
  std::vector<std::byte> read(bytes);
  content.read(offset, read);
  return read;
}

}  // namespace

GoodBlocks::GoodBlocks(MemoryContent& content) {
  MemoryFile file(content, Access::read_only);
  const auto footers = vhd::read_footers(file);
  if (!footers || footers->chosen.type == vhd::DiskType::fixed) return;
  const auto layout = vhd::read_damaged_layout(file, *footers);
  if (!layout) return;
  const auto bad = vhd::bad_entries_of(*layout);
  for (std::uint64_t n = 0; n < layout->block_count && blocks_.size() < kBlocksMax; ++n) {
    const auto entry = layout->entries[n];
    const bool is_bad = std::ranges::find(bad, n, &vhd::BadEntry::block) != bad.end();
    if (entry == vhd::kUnusedBlock || is_bad) continue;
    const auto range = layout->shape.range(entry);
    const auto bytes = std::min(range.bytes, kBytesMax);
    blocks_.push_back({n, entry, range.start, bytes_at(content, range.start, bytes)});
  }
}

void GoodBlocks::expect_in(MemoryContent& content) const {
  if (blocks_.empty()) return;
  MemoryFile file(content, Access::read_only);
  const auto footers = vhd::read_footers(file);
  FUZZ_EXPECT(footers);
  const auto layout = vhd::read_vhd_layout(file, *footers, Access::read_only);
  FUZZ_EXPECT(layout);
  for (const auto& block : blocks_) {
    FUZZ_EXPECT(block.number < layout->block_count);
    FUZZ_EXPECT(layout->entries[block.number] == block.entry);
    FUZZ_EXPECT(bytes_at(content, block.offset, block.bytes.size()) == block.bytes);
  }
}

void expect_repaired(MemoryContent& content) {
  MemoryFile file(content, Access::read_write);
  const auto report = vhd::check_image(file);
  FUZZ_EXPECT(report);
  for (const auto& finding : report->findings) {
    // No repair changes who made it, or finds its parent.
    if (finding.code.starts_with("parent") || finding.code == "not_served") continue;
    if (finding.level == vhd::FindingLevel::error) broken(finding.text.c_str(), __FILE__, __LINE__);
  }
  test::MemoryStore backup;
  const auto again = vhd::repair_image(file, backup);
  FUZZ_EXPECT_OK(again);
  if (!again->done.empty())
    broken(("nothing to do: " + again->done[0]).c_str(), __FILE__, __LINE__);
}

}  // namespace xenblk::fuzz
