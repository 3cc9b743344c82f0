// What a connection is offered: decided when it is made, the same as long as it lasts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "nbd/protocol.h"
#include "xenblk/image.h"

namespace xenblk::nbd {

// Longer ones are no names of ours; the protocol's own limit for names is 4096 bytes.
inline constexpr std::size_t kNameBytesMax = 255;

struct Terms {
  std::string name;  // beside the empty name, which always means this export
  std::uint64_t size_bytes = 0;
  std::uint16_t flags = kHasFlags;
  std::uint32_t block_bytes_min = kSectorBytes;
  std::uint32_t block_bytes_preferred = kPageBytes;
  // Of data in one request: what the protocol lets clients use where nothing was said.
  std::uint32_t block_bytes_max = 32U << 20;
};

// A client may send its flushes on any of its connections: all share one image, whose flush covers
// every write that was answered.
inline Terms terms_of(const Image& image, std::string name, bool read_only) {
  const auto& info = image.info();
  Terms terms{.name = std::move(name), .size_bytes = image.capacity().n * kSectorBytes};
  terms.flags = kHasFlags | kSendFlush | kSendFua | kSendDf | kCanMultiConn;
  if (read_only || info.access == Access::read_only) {
    terms.flags |= kReadOnly;
  } else {
    terms.flags |= kSendWriteZeroes | kSendFastZero;
    if (info.discard) terms.flags |= kSendTrim;
  }
  terms.block_bytes_preferred = std::max(kPageBytes, info.physical_sector_bytes);
  return terms;
}

}  // namespace xenblk::nbd
