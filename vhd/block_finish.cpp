// Closing an image that was written: the footer moves from the end of the last extent to the end of
// the data.
#include <algorithm>
#include <cassert>

#include "vhd/block_jobs_inline.h"

namespace xenblk::vhd {

// What a failed write of the table left there is replaced by what is true.
Expected<void> BlockJobs::rewrite_table() {
  const AlignedBuffer bytes(kSectorBytes);
  for (std::uint64_t sector = 0; sector < context_.leaf.map.table_sectors(); ++sector) {
    context_.leaf.map.write_table_sector(sector, bytes.all().first<kSectorBytes>());
    const auto offset = context_.table_offset + sector * kSectorBytes;
    if (auto ok = context_.leaf.file.write_at(offset, bytes.all()); !ok) return ok;
  }
  return context_.leaf.file.sync_data();
}

std::uint64_t BlockJobs::end_of_used() const {
  auto end = context_.end_of_metadata;
  for (std::uint64_t block = 0; block < context_.leaf.map.block_count(); ++block) {
    const auto entry = context_.leaf.map.entry_in_file({block});
    if (entry != kUnusedBlock) end = std::max(end, context_.leaf.shape.range(entry).end());
  }
  return end;
}

Expected<void> BlockJobs::finish() {
  const std::lock_guard lock(mutex_);
  if (!slots_) return {};
  auto& file = context_.leaf.file;
  if (is_doubtful()) {
    if (auto ok = rewrite_table(); !ok) return ok;
  }
  if (auto ok = file.sync_data(); !ok) return ok;
  const auto end = end_of_used();
  if (!allocated_ || end >= slots_->footer_offset()) return {};
  // Two footers for a moment; the one at the end counts, before and after.
  if (auto ok = file.write_at(end, footer_.all()); !ok) return ok;
  if (auto ok = file.sync_data(); !ok) return ok;
  if (auto ok = file.truncate(end + kFooterBytes); !ok) return ok;
  return file.sync_data();
}

}  // namespace xenblk::vhd
