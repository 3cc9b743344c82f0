// What a journal says about each request, decided from values alone: the journal as a dead daemon
// left it, and the ring's indices. Pure; any thread. The journal is root's own file but is checked
// like any other input: a damaged one is an error, never a crash.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ringio/journal_format.h"
#include "xenblk/error.h"

namespace xenblk::ringio {

// As they stand in the ring now; the guest's to change at any time.
struct RingIndices {
  std::uint32_t request_producer = 0;
  std::uint32_t response_producer = 0;
};

// What of a journal's file may be used.
enum class JournalUse : std::uint8_t {
  recover,   // the daemon before us was killed: recover() says what it left
  begin_at,  // it ended in good order: nothing is open, the ring goes on at `index`
};
struct JournalVerdict {
  JournalUse use = JournalUse::recover;
  std::uint32_t index = 0;
};

// Errors: bad_journal, with what to do about it: not a journal, another version's, another
// connection's, or a ring that does not stand where it was left.
Expected<JournalVerdict> judge_journal(const JournalHeader& header, std::size_t file_bytes,
                                       const JournalIdentity& identity, std::uint32_t entries,
                                       const RingIndices& ring);

// A response that was decided but that the guest may not see yet.
struct UnpublishedAnswer {
  std::uint16_t entry = 0;
  JournalAnswer answer;
};

struct JournalRecovery {
  std::uint64_t consumed = 0;                  // the next request to be taken
  std::uint64_t published = 0;                 // the guest sees the responses below
  std::vector<UnpublishedAnswer> unpublished;  // in the order of the responses
  std::vector<std::uint16_t> in_flight;        // entries to be served again, in the order of taking
  std::vector<std::uint16_t> free;
};

// The ring is not the one that the journal is about but was made anew since, in the same place:
// nothing that was taken from it can be open.
bool ring_was_made_anew(const JournalHeader& header, const RingIndices& ring);

// Errors: bad_journal.
Expected<JournalRecovery> recover(const JournalHeader& header,
                                  std::span<const JournalEntry> entries, const RingIndices& ring);

}  // namespace xenblk::ringio
