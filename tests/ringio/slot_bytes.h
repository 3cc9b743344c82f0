// Builds ring slots as a frontend writes them, from structs that are spelled out here once more, so
// that the offsets of the program are checked against something else than themselves.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "ringio/raw_slot.h"
#include "xenblk/blkif.h"

namespace xenblk::ringio::test {

struct SegmentFields {
  std::uint32_t gref = 0;
  std::uint8_t first_sect = 0;
  std::uint8_t last_sect = 7;
};

// What a frontend wants to say, right or wrong.
struct RequestFields {
  std::uint8_t operation = 0;
  std::uint8_t nr_segments = 0;  // independent of how many are in `segments`
  std::uint16_t handle = 0;
  std::uint64_t id = 0;
  std::uint64_t sector = 0;
  std::uint64_t discard_sectors = 0;  // only for a discard
  std::uint8_t discard_flag = 0;
  std::uint8_t indirect_op = 0;  // only for an indirect request
  std::uint16_t indirect_segments = 0;
  std::array<std::uint32_t, 8> indirect_refs = {};
  std::vector<SegmentFields> segments;
};

struct WireSegment {
  std::uint32_t gref;
  std::uint8_t first_sect, last_sect;
  std::uint16_t padding;
};

#pragma pack(push, 4)
struct WireRequest32 {
  std::uint8_t operation, nr_segments;
  std::uint16_t handle;
  std::uint64_t id, sector;
  WireSegment segments[11];
};
struct WireDiscard32 {
  std::uint8_t operation, flag;
  std::uint16_t handle;
  std::uint64_t id, sector, sectors;
};
struct WireIndirect32 {
  std::uint8_t operation, inner;
  std::uint16_t segments;
  std::uint64_t id, sector;
  std::uint16_t handle, padding;
  std::uint32_t refs[8];
  std::uint64_t tail;
};
#pragma pack(pop)
struct WireRequest64 {
  std::uint8_t operation, nr_segments;
  std::uint16_t handle;
  std::uint32_t padding;
  std::uint64_t id, sector;
  WireSegment segments[11];
};
struct WireDiscard64 {
  std::uint8_t operation, flag;
  std::uint16_t handle;
  std::uint32_t padding;
  std::uint64_t id, sector, sectors;
};
static_assert(sizeof(WireRequest32) == 108 && sizeof(WireRequest64) == 112);
static_assert(sizeof(WireDiscard32) == 28 && sizeof(WireDiscard64) == 32);
struct WireIndirect64 {
  std::uint8_t operation, inner;
  std::uint16_t segments;
  std::uint32_t padding;
  std::uint64_t id, sector;
  std::uint16_t handle, padding2;
  std::uint32_t refs[8];
  std::uint32_t tail;
};
static_assert(sizeof(WireIndirect32) == 64 && sizeof(WireIndirect64) == 64);

template <class Wire, class WireDiscard, class WireIndirect>
RawSlot build_as(const RequestFields& fields) {
  RawSlot raw;
  if (fields.operation == static_cast<std::uint8_t>(blkif::Op::indirect)) {
    WireIndirect wire = {};
    wire.operation = fields.operation;
    wire.inner = fields.indirect_op;
    wire.segments = fields.indirect_segments;
    wire.handle = fields.handle;
    wire.id = fields.id;
    wire.sector = fields.sector;
    std::memcpy(wire.refs, fields.indirect_refs.data(), sizeof wire.refs);
    std::memcpy(raw.words.data(), &wire, sizeof wire);
    return raw;
  }
  if (fields.operation == static_cast<std::uint8_t>(blkif::Op::discard)) {
    WireDiscard wire = {};
    wire.operation = fields.operation;
    wire.flag = fields.discard_flag;
    wire.handle = fields.handle;
    wire.id = fields.id;
    wire.sector = fields.sector;
    wire.sectors = fields.discard_sectors;
    std::memcpy(raw.words.data(), &wire, sizeof wire);
    return raw;
  }
  Wire wire = {};
  wire.operation = fields.operation;
  wire.nr_segments = fields.nr_segments;
  wire.handle = fields.handle;
  wire.id = fields.id;
  wire.sector = fields.sector;
  for (std::size_t i = 0; i < fields.segments.size() && i < 11; ++i) {
    const auto& segment = fields.segments[i];
    wire.segments[i] = {segment.gref, segment.first_sect, segment.last_sect, 0xabcd};
  }
  std::memcpy(raw.words.data(), &wire, sizeof wire);
  return raw;
}

inline RawSlot build(blkif::Layout layout, const RequestFields& fields) {
  return layout == blkif::Layout::x86_32
             ? build_as<WireRequest32, WireDiscard32, WireIndirect32>(fields)
             : build_as<WireRequest64, WireDiscard64, WireIndirect64>(fields);
}

inline std::size_t slot_bytes(blkif::Layout layout) {
  return layout == blkif::Layout::x86_32 ? sizeof(WireRequest32) : sizeof(WireRequest64);
}

inline std::string layout_name(blkif::Layout layout) {
  return layout == blkif::Layout::x86_32   ? "x86_32"
         : layout == blkif::Layout::x86_64 ? "x86_64"
                                           : "native";
}

}  // namespace xenblk::ringio::test
