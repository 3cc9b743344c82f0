// One request in flight and everything it needs: nothing is allocated for a request. Pinned; owned
// by the worker's SlotPool, one thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <boost/intrusive/list.hpp>
#include <cassert>
#include <cstdint>

#include "ringio/decode.h"
#include "xenblk/clock.h"
#include "xenblk/image.h"

namespace xenblk::ringio {

class Queue;

// The life of a request. Every arrow of the picture is in may_follow(), and nothing else happens:
//
//   free -> taken -> table_in -> data_in -> at_image -> data_out -> answered -> free
//                                   ^___________|  ^________|
//
//   taken, data_in or at_image -> put_off -> free
//
// table_in only with segments in pages of their own, data_in only with data for the disk, data_out
// only with data for the guest; the arrows back are those of a large request, which moves its data
// in pieces; at_image may follow itself. From everywhere between taken and data_out a failure leads
// straight to answered, which nothing but `free` follows. So no request is answered twice, and none
// is forgotten. One that its storage has failed may be put off instead: it goes back to those of
// its ring that are yet to be taken, and a barrier that waits behind it with it.
enum class Step : std::uint8_t {
  free,
  taken,
  table_in,
  data_in,
  at_image,
  data_out,
  answered,
  put_off
};

constexpr bool may_follow(Step from, Step to) {
  switch (from) {
    case Step::free:
      return to == Step::taken;
    case Step::taken:
      return to == Step::table_in || to == Step::data_in || to == Step::at_image ||
             to == Step::put_off;
    case Step::table_in:
      return to == Step::data_in || to == Step::at_image || to == Step::answered;
    case Step::data_in:
      return to == Step::at_image || to == Step::answered || to == Step::put_off;
    case Step::at_image:
      return to == Step::data_in || to == Step::at_image || to == Step::data_out ||
             to == Step::answered || to == Step::put_off;
    case Step::data_out:
      return to == Step::at_image || to == Step::answered;
    case Step::answered:
    case Step::put_off:
      return to == Step::free;
  }
  return false;
}

struct SlotHookTag;
using SlotHook = boost::intrusive::list_base_hook<boost::intrusive::tag<SlotHookTag>>;

// What the image is asked for one after another: a barrier with data needs three (flush, write,
// flush).
struct Phases {
  std::array<ImageOp, 3> ops = {};
  std::uint8_t count = 0;
  std::uint8_t next = 0;
};

// Segments that are moved at once. A request of more (it is indirect then) is served in pieces of
// so many, one after the other through one buffer, so that no request needs more memory than this.
inline constexpr std::uint32_t kPieceSegments = 256;

// A discard is served in pieces too: one of a whole disk would keep its file locked, and its image
// busy, for as long as it takes. They end at multiples of this, so that no block and no granule of
// a device is divided but those that the guest has divided.
inline constexpr std::uint64_t kDiscardPieceSectors = (std::uint64_t{128} << 20) / kSectorBytes;

// Enough for any piece, whatever the segments turn out to be.
inline std::uint32_t buffer_bytes(const Request& request) {
  return std::min(request.segment_count, kPieceSegments) * kPageBytes;
}

// What the buffers of a request take away from the others: powers of two.
inline std::size_t memory_of(const Request& request) {
  if (!request.carries_data()) return 0;
  const std::size_t table = request.indirect ? std::bit_ceil(request.table_bytes()) : 0;
  return table + std::bit_ceil(buffer_bytes(request));
}

// Is the ImageRequest that is handed to the image, so that the way back needs no search.
struct RequestSlot : ImageRequest, SlotHook {
  Queue* queue = nullptr;
  Request request;
  Phases phases;
  Instant taken_at;
  Instant submitted_at;  // its first piece, to the image
  Instant imaged_at;     // its last piece was read
  blkif::Status answer = blkif::Status::okay;
  std::byte* table = nullptr;     // an indirect request's private copy of its segments
  std::uint32_t piece_begin = 0;  // the piece under way: segments [begin, end)
  std::uint32_t piece_end = 0;
  std::uint16_t copies = 0;         // by the hypervisor, in the movement under way
  std::uint16_t journal_entry = 0;  // where its journal has it

  std::span<const Segment> piece() const {
    return request.data().subspan(piece_begin, piece_end - piece_begin);
  }
  bool has_more_pieces() const {
    if (!request.carries_data()) return first.n + count.n < request.first.n + request.count.n;
    return piece_end < request.segment_count;
  }
  void begin_first_piece();
  void begin_next_piece();

  Step step() const { return step_; }
  void go(Step next) {
    assert(may_follow(step_, next));
    step_ = next;
  }

 private:
  void set_piece(std::uint32_t begin, SectorIndex at);
  void set_bare_piece(SectorIndex at);
  Step step_ = Step::free;
};

using SlotList = boost::intrusive::list<RequestSlot, boost::intrusive::base_hook<SlotHook>,
                                        boost::intrusive::constant_time_size<false>>;

}  // namespace xenblk::ringio
