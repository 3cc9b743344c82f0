// The blkif wire: layouts, operations and status codes as they stand in shared memory.
// Source of every number: xen/include/public/io/blkif.h (struct blkif_request and friends) and
// xen/include/public/io/ring.h (shared ring header); offsets were measured with both ABIs'
// compilers. Only offsets and constants live here: nothing in this file touches memory.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "xenblk/units.h"

namespace xenblk::blkif {

// Request layouts ("protocol" node of the frontend). `native` is the layout of this machine's own
// ABI, which on x86_64 (and arm64, same alignment rules) equals x86_64.
enum class Layout : std::uint8_t { native, x86_32, x86_64 };

enum class Op : std::uint8_t {
  read = 0,
  write = 1,
  write_barrier = 2,
  flush_diskcache = 3,
  reserved_1 = 4,
  discard = 5,
  indirect = 6,
};

enum class Status : std::int16_t { okay = 0, error = -1, eopnotsupp = -2 };

inline constexpr std::uint32_t kMaxSegments = 11;      // BLKIF_MAX_SEGMENTS_PER_REQUEST
inline constexpr std::uint32_t kMaxIndirectPages = 8;  // BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST
inline constexpr std::uint32_t kSegmentsPerIndirectPage = kPageBytes / 8;
inline constexpr std::uint32_t kMaxIndirectSegments = kMaxIndirectPages * kSegmentsPerIndirectPage;
inline constexpr std::uint32_t kMaxRingOrder = 4;  // XENBUS_MAX_RING_GRANT_ORDER of Linux
inline constexpr std::uint32_t kMaxRingPages = 1U << kMaxRingOrder;
inline constexpr std::uint8_t kDiscardFlagSecure = 1;

// The struct blkif_request_segment is the same in every layout: gref u32, first_sect u8, last_sect
// u8, 2 pad.
struct SegmentOffsets {
  static constexpr std::size_t gref = 0, first_sect = 4, last_sect = 5, size = 8;
};

// Byte offsets inside one ring slot. `slot` is the stride: sizeof(union of request and response).
struct SlotOffsets {
  std::size_t slot;
  // struct blkif_request
  std::size_t operation, nr_segments, handle, id, sector_number, seg;
  // struct blkif_request_discard
  std::size_t discard_flag, discard_id, discard_sector, discard_nr_sectors;
  // struct blkif_request_indirect
  std::size_t indirect_op, indirect_nr_segments, indirect_id, indirect_sector, indirect_grefs;
  // struct blkif_response
  std::size_t rsp_id, rsp_operation, rsp_status, rsp_size;
};

inline constexpr SlotOffsets kSlotX86_32{.slot = 108,
                                         .operation = 0,
                                         .nr_segments = 1,
                                         .handle = 2,
                                         .id = 4,
                                         .sector_number = 12,
                                         .seg = 20,
                                         .discard_flag = 1,
                                         .discard_id = 4,
                                         .discard_sector = 12,
                                         .discard_nr_sectors = 20,
                                         .indirect_op = 1,
                                         .indirect_nr_segments = 2,
                                         .indirect_id = 4,
                                         .indirect_sector = 12,
                                         .indirect_grefs = 24,
                                         .rsp_id = 0,
                                         .rsp_operation = 8,
                                         .rsp_status = 10,
                                         .rsp_size = 12};

inline constexpr SlotOffsets kSlotX86_64{.slot = 112,
                                         .operation = 0,
                                         .nr_segments = 1,
                                         .handle = 2,
                                         .id = 8,
                                         .sector_number = 16,
                                         .seg = 24,
                                         .discard_flag = 1,
                                         .discard_id = 8,
                                         .discard_sector = 16,
                                         .discard_nr_sectors = 24,
                                         .indirect_op = 1,
                                         .indirect_nr_segments = 2,
                                         .indirect_id = 8,
                                         .indirect_sector = 16,
                                         .indirect_grefs = 28,
                                         .rsp_id = 0,
                                         .rsp_operation = 8,
                                         .rsp_status = 10,
                                         .rsp_size = 16};

static_assert(kSlotX86_32.seg + kMaxSegments * SegmentOffsets::size == kSlotX86_32.slot);
static_assert(kSlotX86_64.seg + kMaxSegments * SegmentOffsets::size == kSlotX86_64.slot);

inline constexpr std::size_t kMaxSlotBytes = 112;

constexpr const SlotOffsets& offsets(Layout layout) {
  switch (layout) {
    case Layout::x86_32:
      return kSlotX86_32;
    case Layout::x86_64:
      return kSlotX86_64;
    case Layout::native:
      break;
  }
#if defined(__i386__)
  return kSlotX86_32;
#else
  return kSlotX86_64;
#endif
}

// Shared ring header, the same for all layouts (ring.h, DEFINE_RING_TYPES): four u32 indices, then
// padding; the slots begin at byte 64. Slots may straddle pages: ring pages are mapped virtually
// contiguous.
struct RingOffsets {
  static constexpr std::size_t req_prod = 0, req_event = 4, rsp_prod = 8, rsp_event = 12,
                               slots = 64;
};

// Entries of a ring: the largest power of two that fits (ring.h, __RING_SIZE).
constexpr std::uint32_t ring_entries(Layout layout, std::uint32_t pages) {
  const auto fit = (pages * std::size_t{kPageBytes} - RingOffsets::slots) / offsets(layout).slot;
  return static_cast<std::uint32_t>(std::bit_floor(fit));
}

static_assert(ring_entries(Layout::x86_32, 1) == 32 && ring_entries(Layout::x86_64, 1) == 32);
static_assert(ring_entries(Layout::x86_32, 16) == 512 && ring_entries(Layout::x86_64, 16) == 512);

// What the frontend writes as "protocol" (xen/include/public/io/protocols.h).
inline constexpr std::string_view kProtocolX86_32 = "x86_32-abi";
inline constexpr std::string_view kProtocolX86_64 = "x86_64-abi";
inline constexpr std::string_view kProtocolArm = "arm-abi";

// Bits of the backend's "info" node (VDISK_*).
inline constexpr std::uint32_t kInfoCdrom = 1, kInfoRemovable = 2, kInfoReadOnly = 4;

}  // namespace xenblk::blkif
