#include "ringio/journal_recovery.h"

#include <algorithm>
#include <cassert>
#include <string>

namespace xenblk::ringio {
namespace {

std::unexpected<Error> damaged(const char* what) {
  return fail(Errc::bad_journal, std::string("the journal is damaged: ") + what);
}

std::unexpected<Error> wrong_version(std::uint32_t version) {
  return fail(Errc::bad_journal, "the journal is of version " + std::to_string(version) +
                                     ", this daemon knows version " +
                                     std::to_string(kJournalVersion) +
                                     ": start the daemon that wrote it, end it with SIGTERM, and "
                                     "start this one again");
}

std::unexpected<Error> ring_was_moved() {
  return fail(Errc::bad_journal, "the ring's responses do not end where the journal left them");
}

// What is in flight must be just what was consumed and has no response.
bool counts_agree(const JournalRecovery& found, std::uint64_t responses_end) {
  return found.in_flight.size() == found.consumed - responses_end;
}

bool all_different(std::span<const JournalEntry> entries, std::span<const std::uint16_t> sorted) {
  return std::ranges::adjacent_find(sorted, [&](std::uint16_t a, std::uint16_t b) {
           return entries[a].number == entries[b].number;
         }) == sorted.end();
}

}  // namespace

bool ring_was_made_anew(const JournalHeader& header, const RingIndices& ring) {
  if (ring.response_producer != 0) return false;
  const auto consumed = static_cast<std::uint32_t>(header.consumed);
  const bool requests_gone = static_cast<std::int32_t>(ring.request_producer - consumed) < 0;
  // A ring whose index has just wrapped stands at 0 too, but no further than what was taken.
  const auto seen = 0 - static_cast<std::uint32_t>(header.published);
  const bool reachable = seen <= header.consumed - header.published;
  return requests_gone || !reachable;
}

Expected<JournalVerdict> judge_journal(const JournalHeader& header, std::size_t file_bytes,
                                       const JournalIdentity& identity, std::uint32_t entries,
                                       const RingIndices& ring) {
  if (header.magic != kJournalMagic) return damaged("this is no journal");
  if (header.identity != identity) {
    return fail(Errc::bad_journal, "the journal is that of another connection");
  }
  if (header.state == JournalState::drained) {
    // A frontend that began anew while nobody served it has a new ring; others stand still.
    const bool stands = ring.response_producer == header.drained_at || ring.response_producer == 0;
    if (!stands) return ring_was_moved();
    return JournalVerdict{JournalUse::begin_at, ring.response_producer};
  }
  if (header.state != JournalState::in_use) return damaged("unknown state");
  if (header.version != kJournalVersion) return wrong_version(header.version);
  if (header.entries != entries || file_bytes != journal_bytes(entries)) {
    return damaged("wrong size");
  }
  if (ring_was_made_anew(header, ring)) return JournalVerdict{JournalUse::begin_at, 0};
  return JournalVerdict{JournalUse::recover, 0};
}

Expected<JournalRecovery> recover(const JournalHeader& header,
                                  std::span<const JournalEntry> entries, const RingIndices& ring) {
  assert(entries.size() == header.entries);
  JournalRecovery found{.consumed = header.consumed, .published = header.published};
  if (header.consumed < header.published || header.consumed - header.published > header.entries) {
    return damaged("impossible counts");
  }
  for (std::uint16_t i = 0; i < entries.size(); ++i) {
    const JournalEntry& entry = entries[i];
    if (entry.number >= header.consumed) {
      found.free.push_back(i);
    } else if (entry.answer == 0) {
      found.in_flight.push_back(i);
    } else if (const auto answer = unpack(entry.answer); !answer) {
      return damaged("impossible answer");
    } else if (answer->response < header.published) {
      found.free.push_back(i);
    } else {
      found.unpublished.push_back({i, *answer});
    }
  }
  std::ranges::sort(found.in_flight, {}, [&](std::uint16_t i) { return entries[i].number; });
  std::ranges::sort(found.unpublished, {}, [](const auto& u) { return u.answer.response; });
  std::uint64_t responses_end = header.published;
  for (const auto& unpublished : found.unpublished) {
    if (unpublished.answer.response != responses_end) return damaged("responses are missing");
    ++responses_end;
  }
  if (responses_end > found.consumed || !counts_agree(found, responses_end) ||
      !all_different(entries, found.in_flight)) {
    return damaged("requests are missing");
  }
  // The guest may see more than was noted: the index goes out before the note.
  const std::uint32_t seen = ring.response_producer - static_cast<std::uint32_t>(found.published);
  if (seen > found.unpublished.size()) return ring_was_moved();
  for (std::uint32_t i = 0; i < seen; ++i) found.free.push_back(found.unpublished[i].entry);
  found.unpublished.erase(found.unpublished.begin(), found.unpublished.begin() + seen);
  found.published += seen;
  return found;
}

}  // namespace xenblk::ringio
