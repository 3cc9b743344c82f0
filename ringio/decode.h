// The one parser of guest input: a private copy of a slot becomes a Request that has been checked
// completely, or a Refusal that says how to answer. Pure functions; any thread; nothing fails
// otherwise.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "ringio/counters.h"
#include "ringio/raw_slot.h"
#include "xenblk/blkif.h"
#include "xenblk/units.h"

namespace xenblk::ringio {

// What a queue allows.
struct Limits {
  SectorCount capacity;
  Access access = Access::read_only;
  std::uint32_t logical_sector_bytes = kSectorBytes;
  bool offer_flush = false;
  bool offer_barrier = false;
  bool offer_discard = false;
  std::uint32_t indirect_segments_max = 0;  // 0: indirect requests are not offered
};

// A part of a guest page, in 512-byte sectors, both ends included. Laid out as on the wire, so that
// the private copy of an indirect page is a table of them.
struct Segment {
  GrantRef ref;
  std::uint8_t first_sect = 0;
  std::uint8_t last_sect = 0;

  std::uint32_t sectors() const { return last_sect - first_sect + 1U; }
  auto operator<=>(const Segment&) const = default;
};
static_assert(sizeof(Segment) == blkif::SegmentOffsets::size);
static_assert(offsetof(Segment, first_sect) == blkif::SegmentOffsets::first_sect);
static_assert(offsetof(Segment, last_sect) == blkif::SegmentOffsets::last_sect);

struct Request {
  std::uint64_t id = 0;
  blkif::Op op = blkif::Op::read;  // read, write, write_barrier, flush_diskcache or discard
  SectorIndex first;
  SectorCount count;  // 0 for an empty flush or barrier
  std::uint32_t segment_count = 0;
  std::array<Segment, blkif::kMaxSegments> segments;

  // An indirect request's segments stand in pages of the guest: `count` is not known and `table`
  // not set before those were copied and checked.
  bool indirect = false;
  std::array<GrantRef, blkif::kMaxIndirectPages> table_refs;
  const Segment* table = nullptr;

  std::span<const Segment> data() const {
    return {indirect ? table : segments.data(), segment_count};
  }
  bool carries_data() const { return segment_count != 0; }
  std::uint32_t table_bytes() const {
    return indirect ? segment_count * static_cast<std::uint32_t>(sizeof(Segment)) : 0;
  }
};

// The answer to a request that is not served. `operation` is echoed as the guest wrote it (for an
// indirect request the operation inside it).
struct Refusal {
  std::uint64_t id = 0;
  std::uint8_t operation = 0;
  blkif::Status status = blkif::Status::error;
  Trouble trouble = Trouble::unknown_operation;
  std::uint64_t detail = 0;  // the offending number, for the log

  friend bool operator==(const Refusal&, const Refusal&) = default;
};

// The handle field is ignored: a queue belongs to one disk, and the hypervisor does not vouch for
// it.
std::expected<Request, Refusal> decode(const RawSlot& raw, blkif::Layout layout,
                                       const Limits& limits);

// What the answer to a request names it by.
struct RequestName {
  std::uint64_t id = 0;
  std::uint8_t operation = 0;
};
RequestName name_of(const RawSlot& raw, blkif::Layout layout);

// Completes an indirect request with the private copy of its segments, which it keeps a pointer to.
std::expected<void, Refusal> decode_table(Request& request, const Segment* table,
                                          const Limits& limits);

}  // namespace xenblk::ringio
