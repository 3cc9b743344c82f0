#include "backend/platform/loopback/frontend_request.h"

#include <algorithm>
#include <cstring>

namespace xenblk::loopback {
namespace {

template <class T>
void put(SlotBytes& slot, std::size_t offset, T value) {
  std::memcpy(slot.data() + offset, &value, sizeof(value));
}

void encode_discard(SlotBytes& slot, const blkif::SlotOffsets& at, const FrontendRequest& request) {
  put(slot, at.discard_flag, request.discard_flag);
  put(slot, at.discard_id, request.id);
  put(slot, at.discard_sector, request.sector.n);
  put(slot, at.discard_nr_sectors, request.discard_count.n);
}

void encode_indirect(SlotBytes& slot, const blkif::SlotOffsets& at,
                     const FrontendRequest& request) {
  put(slot, at.indirect_op, request.indirect_op);
  put(slot, at.indirect_nr_segments, request.indirect_segment_count);
  put(slot, at.indirect_id, request.id);
  put(slot, at.indirect_sector, request.sector.n);
  for (std::size_t i = 0; i < request.indirect_refs.size(); ++i) {
    put(slot, at.indirect_grefs + i * sizeof(std::uint32_t), request.indirect_refs[i].n);
  }
}

void encode_transfer(SlotBytes& slot, const blkif::SlotOffsets& at,
                     const FrontendRequest& request) {
  const auto stored = std::min<std::size_t>(request.segments.size(), blkif::kMaxSegments);
  const int count = request.segment_count_override >= 0 ? request.segment_count_override
                                                        : static_cast<int>(stored);
  put(slot, at.nr_segments, static_cast<std::uint8_t>(count));
  put(slot, at.id, request.id);
  put(slot, at.sector_number, request.sector.n);
  for (std::size_t i = 0; i < stored; ++i) {
    const auto bytes = encode(request.segments[i]);
    std::ranges::copy(bytes, slot.begin() + static_cast<long>(at.seg + i * bytes.size()));
  }
}

}  // namespace

SlotBytes encode(blkif::Layout layout, const FrontendRequest& request) {
  const auto& at = blkif::offsets(layout);
  SlotBytes slot = {};
  put(slot, at.operation, request.op);
  put(slot, at.handle, request.handle);
  if (request.op == wire(blkif::Op::discard)) {
    encode_discard(slot, at, request);
  } else if (request.op == wire(blkif::Op::indirect)) {
    encode_indirect(slot, at, request);
  } else {
    encode_transfer(slot, at, request);
  }
  return slot;
}

std::array<std::byte, blkif::SegmentOffsets::size> encode(const FrontendSegment& segment) {
  using At = blkif::SegmentOffsets;
  std::array<std::byte, At::size> bytes = {};
  std::memcpy(bytes.data() + At::gref, &segment.ref.n, sizeof(segment.ref.n));
  bytes[At::first_sect] = std::byte{segment.first_sector};
  bytes[At::last_sect] = std::byte{segment.last_sector};
  return bytes;
}

}  // namespace xenblk::loopback
