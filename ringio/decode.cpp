#include "ringio/decode.h"

#include <cassert>
#include <optional>

namespace xenblk::ringio {
namespace {

using blkif::Op;
using blkif::SegmentOffsets;
using blkif::SlotOffsets;
using blkif::Status;

struct Problem {
  Trouble trouble;
  std::uint64_t detail;
  Status status = Status::error;
};
using Verdict = std::optional<Problem>;

Verdict check_offered(std::uint8_t operation, const Limits& limits) {
  constexpr auto kLastOp = static_cast<std::uint8_t>(Op::indirect);
  if (operation > kLastOp) {
    return Problem{Trouble::unknown_operation, operation, Status::eopnotsupp};
  }
  bool offered = false;
  switch (static_cast<Op>(operation)) {
    case Op::read:
    case Op::write:
      offered = true;
      break;
    case Op::write_barrier:
      offered = limits.offer_barrier;
      break;
    case Op::flush_diskcache:
      offered = limits.offer_flush;
      break;
    case Op::discard:
      offered = limits.offer_discard;
      break;
    case Op::indirect:
      offered = limits.indirect_segments_max != 0;
      break;
    case Op::reserved_1:
      break;
  }
  if (offered) return std::nullopt;
  return Problem{Trouble::not_offered, operation, Status::eopnotsupp};
}

// Sector numbers and lengths are in units of 512 bytes whatever the logical sector size is.
bool aligned(std::uint64_t sectors, const Limits& limits) {
  const std::uint64_t unit = limits.logical_sector_bytes / kSectorBytes;
  assert(unit != 0 && (unit & (unit - 1)) == 0);
  return (sectors & (unit - 1)) == 0;
}

Verdict check_range(const Request& request, const Limits& limits) {
  if (!aligned(request.first.n, limits)) return Problem{Trouble::misaligned, request.first.n};
  if (!aligned(request.count.n, limits)) return Problem{Trouble::misaligned, request.count.n};
  if (!fits(request.first, request.count, limits.capacity)) {
    return Problem{Trouble::out_of_range, request.first.n};
  }
  return std::nullopt;
}

Verdict check_segments(Request& request, const Limits& limits) {
  request.count = {0};
  std::uint32_t index = 0;
  for (const Segment& segment : request.data()) {
    if (segment.last_sect >= kSectorsPerPage || segment.first_sect > segment.last_sect) {
      return Problem{Trouble::segment_sectors, index};
    }
    if (!aligned(segment.first_sect, limits) || !aligned(segment.sectors(), limits)) {
      return Problem{Trouble::misaligned, index};
    }
    request.count.n += segment.sectors();
    ++index;
  }
  return check_range(request, limits);
}

Verdict check_access(Op op, const Limits& limits) {
  if (op == Op::read || limits.access == Access::read_write) return std::nullopt;
  return Problem{Trouble::read_only_disk, static_cast<std::uint64_t>(op)};
}

void copy_segments(const RawSlot& raw, const SlotOffsets& at, Request& request) {
  assert(request.segment_count <= blkif::kMaxSegments);
  for (std::uint32_t i = 0; i < request.segment_count; ++i) {
    const std::size_t offset = at.seg + i * SegmentOffsets::size;
    request.segments[i] = {{raw.get<std::uint32_t>(offset + SegmentOffsets::gref)},
                           raw.get<std::uint8_t>(offset + SegmentOffsets::first_sect),
                           raw.get<std::uint8_t>(offset + SegmentOffsets::last_sect)};
  }
}

Verdict read_transfer(const RawSlot& raw, const SlotOffsets& at, const Limits& limits,
                      Request& request) {
  const std::uint32_t segments = raw.get<std::uint8_t>(at.nr_segments);
  const bool may_be_empty = request.op == Op::write_barrier || request.op == Op::flush_diskcache;
  if (segments > blkif::kMaxSegments || (segments == 0 && !may_be_empty)) {
    return Problem{Trouble::segment_count, segments};
  }
  // An empty flush or barrier has no place on the disk: its sector number means nothing.
  if (segments == 0) return std::nullopt;
  if (auto problem = check_access(request.op, limits)) return problem;
  request.segment_count = segments;
  request.first.n = raw.get<std::uint64_t>(at.sector_number);
  copy_segments(raw, at, request);
  return check_segments(request, limits);
}

// All but the segments themselves, which have yet to be copied from the guest's pages. References
// beyond the pages that the count needs mean nothing.
Verdict read_indirect(const RawSlot& raw, const SlotOffsets& at, const Limits& limits,
                      Request& request) {
  const auto inner = raw.get<std::uint8_t>(at.indirect_op);
  if (inner != static_cast<std::uint8_t>(Op::read) &&
      inner != static_cast<std::uint8_t>(Op::write)) {
    return Problem{Trouble::indirect_operation, inner};
  }
  request.op = static_cast<Op>(inner);
  const std::uint32_t segments = raw.get<std::uint16_t>(at.indirect_nr_segments);
  if (segments == 0 || segments > limits.indirect_segments_max) {
    return Problem{Trouble::segment_count, segments};
  }
  if (auto problem = check_access(request.op, limits)) return problem;
  request.indirect = true;
  request.segment_count = segments;
  request.first.n = raw.get<std::uint64_t>(at.indirect_sector);
  for (std::size_t i = 0; i < request.table_refs.size(); ++i) {
    request.table_refs[i].n = raw.get<std::uint32_t>(at.indirect_grefs + i * sizeof(std::uint32_t));
  }
  return std::nullopt;
}

Verdict read_discard(const RawSlot& raw, const SlotOffsets& at, const Limits& limits,
                     Request& request) {
  if (auto problem = check_access(request.op, limits)) return problem;
  // A guest that asks for a secure discard, which is never offered, must not believe that it got
  // one. Other bits mean nothing.
  const auto flag = raw.get<std::uint8_t>(at.discard_flag);
  if ((flag & blkif::kDiscardFlagSecure) != 0) {
    return Problem{Trouble::not_offered, flag, Status::eopnotsupp};
  }
  request.first.n = raw.get<std::uint64_t>(at.discard_sector);
  request.count.n = raw.get<std::uint64_t>(at.discard_nr_sectors);
  if (request.count.n == 0) return Problem{Trouble::segment_count, 0};
  return check_range(request, limits);
}

// The id stands in the same place whatever the operation is, so that even the answer to an unknown
// one can name the request.
constexpr bool id_in_one_place(const SlotOffsets& at) {
  return at.id == at.discard_id && at.id == at.indirect_id;
}
static_assert(id_in_one_place(blkif::kSlotX86_32) && id_in_one_place(blkif::kSlotX86_64));

// What the answer names as its operation. An answer to an indirect request names the operation
// inside it; a frontend that checks its answers gives up the disk otherwise.
std::uint8_t echoed_operation(const RawSlot& raw, const SlotOffsets& at) {
  const auto operation = raw.get<std::uint8_t>(at.operation);
  const bool indirect = operation == static_cast<std::uint8_t>(Op::indirect);
  return indirect ? raw.get<std::uint8_t>(at.indirect_op) : operation;
}

Verdict read_request(const RawSlot& raw, const SlotOffsets& at, const Limits& limits,
                     Request& request) {
  const auto operation = raw.get<std::uint8_t>(at.operation);
  if (auto problem = check_offered(operation, limits)) return problem;
  request.op = static_cast<Op>(operation);
  if (request.op == Op::indirect) return read_indirect(raw, at, limits, request);
  return request.op == Op::discard ? read_discard(raw, at, limits, request)
                                   : read_transfer(raw, at, limits, request);
}

}  // namespace

std::expected<Request, Refusal> decode(const RawSlot& raw, blkif::Layout layout,
                                       const Limits& limits) {
  const SlotOffsets& at = blkif::offsets(layout);
  Request request;
  request.id = raw.get<std::uint64_t>(at.id);
  const Verdict verdict = read_request(raw, at, limits, request);
  if (verdict) {
    return std::unexpected(Refusal{request.id, echoed_operation(raw, at), verdict->status,
                                   verdict->trouble, verdict->detail});
  }
  assert(request.indirect || request.segment_count <= blkif::kMaxSegments);
  assert(request.count.n == 0 || fits(request.first, request.count, limits.capacity));
  return request;
}

RequestName name_of(const RawSlot& raw, blkif::Layout layout) {
  const SlotOffsets& at = blkif::offsets(layout);
  return {raw.get<std::uint64_t>(at.id), echoed_operation(raw, at)};
}

std::expected<void, Refusal> decode_table(Request& request, const Segment* table,
                                          const Limits& limits) {
  assert(request.indirect && request.segment_count != 0 && table != nullptr);
  assert(request.segment_count <= blkif::kMaxIndirectSegments);
  request.table = table;
  const Verdict verdict = check_segments(request, limits);
  if (!verdict) return {};
  return std::unexpected(Refusal{request.id, static_cast<std::uint8_t>(request.op), verdict->status,
                                 verdict->trouble, verdict->detail});
}

}  // namespace xenblk::ringio
