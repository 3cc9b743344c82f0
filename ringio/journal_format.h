// The in-flight journal of one queue as it stands in its file: what was taken from the ring, and
// which response answered it. It lets a daemon whose predecessor was killed at any instruction tell
// for each request whether it was answered (docs/restart.md).
//
// All numbers are little-endian, as the machine. The file is written by one thread, through a
// shared mapping, and read after that thread is dead: it is the order of its stores that counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "ringio/raw_slot.h"
#include "xenblk/blkif.h"

namespace xenblk::ringio {

inline constexpr std::uint64_t kJournalMagic = 0x314c4e524a4b4c42;  // "BLKJRNL1"
// To be raised with every change of what follows `drained_at`.
inline constexpr std::uint32_t kJournalVersion = 1;

inline constexpr std::uint32_t kMaxRingEntries =
    blkif::ring_entries(blkif::Layout::native, blkif::kMaxRingPages);

enum class JournalState : std::uint32_t { in_use = 1, drained = 2 };

// Which connection the journal belongs to. A frontend that has connected anew shows by one of
// these.
struct JournalIdentity {
  std::uint32_t domain = 0;
  std::uint32_t device = 0;
  std::uint32_t queue = 0;
  std::uint32_t layout = 0;
  std::uint32_t port = 0;  // the frontend's event channel
  std::uint32_t ring_pages = 0;
  std::array<std::uint32_t, blkif::kMaxRingPages> ring_refs = {};
  friend bool operator==(const JournalIdentity&, const JournalIdentity&) = default;
};

struct JournalHeader {
  // Up to `drained_at` the same in every version, so that any daemon can take over from one that
  // ended in good order.
  std::uint64_t magic = kJournalMagic;
  std::uint32_t version = kJournalVersion;
  JournalState state = JournalState::in_use;
  JournalIdentity identity;
  std::uint32_t drained_at = 0;  // where the ring's responses ended, once `drained`

  std::uint32_t entries = 0;  // as many as the ring has
  // Requests and responses are numbered from where the ring stood when it was connected; the lower
  // 32 bits of a number are its index in the ring.
  std::uint64_t consumed = 0;   // requests below are taken
  std::uint64_t published = 0;  // responses below are visible to the guest; maybe some more
};
static_assert(sizeof(JournalHeader) == 128);
static_assert(offsetof(JournalHeader, drained_at) == 104);

// A request that was taken, in two cache lines. Free when its number is not below `consumed`, or
// when its response's is below what the guest can see.
struct JournalEntry {
  RawSlot raw;
  std::uint64_t number = 0;
  std::uint64_t answer = 0;  // 0: none yet; one word, so that it is there wholly or not at all

  static constexpr std::uint64_t kNoNumber = ~std::uint64_t{0};
};
static_assert(sizeof(JournalEntry) == 128);

// The number of the response that answers a request, and its status.
struct JournalAnswer {
  std::uint64_t response = 0;
  blkif::Status status = blkif::Status::okay;
  friend bool operator==(const JournalAnswer&, const JournalAnswer&) = default;
};

constexpr std::uint64_t pack(const JournalAnswer& answer) {
  return (answer.response + 1) << 2 | static_cast<std::uint64_t>(-static_cast<int>(answer.status));
}

// Of an answer that is not 0. Nothing for a status that does not exist.
constexpr std::optional<JournalAnswer> unpack(std::uint64_t answer) {
  if ((answer & 3) == 3 || answer >> 2 == 0) return std::nullopt;
  return JournalAnswer{(answer >> 2) - 1,
                       static_cast<blkif::Status>(-static_cast<int>(answer & 3))};
}

inline constexpr std::size_t kJournalEntriesOffset = 128;  // a multiple of a cache line
static_assert(sizeof(JournalHeader) <= kJournalEntriesOffset);

constexpr std::size_t journal_bytes(std::uint32_t entries) {
  return kJournalEntriesOffset + entries * sizeof(JournalEntry);
}

}  // namespace xenblk::ringio
