// What a guest puts into a ring slot, as plain values, and how it is laid out in each ABI. A test
// may set every field to anything; `encode` checks nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "xenblk/blkif.h"
#include "xenblk/units.h"

namespace xenblk::loopback {

struct FrontendSegment {
  GrantRef ref;
  std::uint8_t first_sector = 0;
  std::uint8_t last_sector = kSectorsPerPage - 1;
};

struct FrontendRequest {
  std::uint8_t op = 0;  // raw, because a guest may put anything there
  std::uint64_t id = 0;
  SectorIndex sector;
  std::uint16_t handle = 0;

  // read, write, barrier, flush: the wire's count follows `segments` unless it is overridden; at
  // most 11 segments are stored whatever the count says.
  std::vector<FrontendSegment> segments;
  int segment_count_override = -1;

  // discard
  SectorCount discard_count;
  std::uint8_t discard_flag = 0;

  // indirect: `op` is blkif::Op::indirect, the segments are in guest pages granted as indirect_refs
  std::uint8_t indirect_op = 0;
  std::uint16_t indirect_segment_count = 0;
  std::array<GrantRef, blkif::kMaxIndirectPages> indirect_refs = {};
};

constexpr std::uint8_t wire(blkif::Op op) {
  return static_cast<std::uint8_t>(op);
}

// As many bytes as the layout's slot; the rest of the array is zero.
using SlotBytes = std::array<std::byte, blkif::kMaxSlotBytes>;
SlotBytes encode(blkif::Layout layout, const FrontendRequest& request);

// One entry of an indirect page.
std::array<std::byte, blkif::SegmentOffsets::size> encode(const FrontendSegment& segment);

}  // namespace xenblk::loopback
