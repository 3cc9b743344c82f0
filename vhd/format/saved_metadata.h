// Metadata of an image as it was before a change, in a file beside it: what a resize is undone with
// when it was interrupted, and what a repair replaced. Read from disk it is as hostile as an image.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vhd/format/footer.h"

namespace xenblk::vhd {

inline constexpr std::uint64_t kSavedMetadataBytesMax = std::uint64_t{80} << 20;

// Whole sectors of the image's file.
struct SavedRange {
  std::uint64_t offset = 0;
  std::vector<std::byte> bytes;
  friend bool operator==(const SavedRange&, const SavedRange&) = default;
};

struct SavedMetadata {
  Uuid uuid = {};  // of the image
  std::uint64_t file_bytes = 0;
  std::vector<SavedRange> ranges;
  friend bool operator==(const SavedMetadata&, const SavedMetadata&) = default;
};

// With a CRC over all of it. At most 64 ranges, and kSavedMetadataBytesMax in all.
std::vector<std::byte> encode(const SavedMetadata& saved);

// bad_image, with field and value: anything that encode() does not write. The ranges of what is
// returned lie within `file_bytes`.
Expected<SavedMetadata> parse_saved_metadata(std::span<const std::byte> bytes);

}  // namespace xenblk::vhd
