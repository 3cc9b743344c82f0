// What every change of metadata under a journal does. Control path, blocking.
#pragma once

#include <span>
#include <vector>

#include "vhd/format/block_table.h"
#include "vhd/format/saved_metadata.h"
#include "vhd/operations/metadata_store.h"
#include "vhd/read_footers.h"

namespace xenblk::vhd {

// Saves these ranges as they are. The last one must be the footer at the end of the file, which is
// where recovery cuts the file again.
inline Expected<void> save_metadata(File& file, MetadataStore& journal, const Footers& footers,
                                    const std::vector<ByteRange>& ranges) {
  SavedMetadata saved{footers.chosen.uuid, footers.file_bytes, {}};
  for (const auto& range : ranges) {
    std::vector<std::byte> bytes(range.bytes);
    if (auto ok = file.read_at(range.start, bytes); !ok) return ok;
    saved.ranges.push_back({range.start, std::move(bytes)});
  }
  return journal.save(encode(saved));
}

inline Expected<void> write_and_sync(File& file, std::uint64_t offset,
                                     std::span<const std::byte> bytes) {
  if (auto ok = file.write_at(offset, bytes); !ok) return ok;
  return file.sync_data();
}

}  // namespace xenblk::vhd
