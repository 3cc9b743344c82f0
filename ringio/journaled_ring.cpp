#include "ringio/journaled_ring.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "ringio/decode.h"
#include "ringio/shared_memory.h"

namespace xenblk::ringio {
namespace {

using blkif::RingOffsets;

RingIndices load_indices(std::byte* memory) {
  return {load_shared<std::uint32_t>(memory, RingOffsets::req_prod),
          load_shared<std::uint32_t>(memory, RingOffsets::rsp_prod)};
}

std::unexpected<Error> at(const JournalPlace& place, Error error) {
  if (!error.text.starts_with(place.path)) error.text = place.path + ": " + error.text;
  return std::unexpected(std::move(error));
}

// A journal that is not there is as bad as a damaged one: nobody knows what was taken.
Expected<JournalFile> open_left_behind(const JournalPlace& place) {
  auto file = JournalFile::open(place.path);
  if (!file && file.error().code == Errc::not_found) {
    return fail(Errc::bad_journal, place.path + ": the daemon before left no journal");
  }
  return file;
}

struct LeftBehind {
  JournalFile file;
  JournalVerdict verdict;
};

Expected<LeftBehind> judge(const JournalPlace& place, std::uint32_t entries,
                           const RingIndices& indices) {
  auto file = open_left_behind(place);
  if (!file) return std::unexpected(std::move(file.error()));
  const auto verdict =
      judge_journal(file->header(), file->bytes(), place.identity, entries, indices);
  if (!verdict) return std::unexpected(verdict.error());
  return LeftBehind{std::move(*file), *verdict};
}

}  // namespace

Expected<JournaledRing> JournaledRing::attach(std::byte* memory, std::uint32_t pages,
                                              blkif::Layout layout) {
  const std::uint32_t begin = load_indices(memory).response_producer;
  auto ring = BackRing::attach(memory, pages, layout, {begin, begin});
  if (!ring) return std::unexpected(std::move(ring.error()));
  JournaledRing attached(*ring);
  attached.was_in_use_ = begin != 0;
  return attached;
}

Expected<JournaledRing> JournaledRing::attach_remembering(std::byte* memory, std::uint32_t pages,
                                                          blkif::Layout layout) {
  auto attached = attach(memory, pages, layout);
  if (!attached) return attached;
  // Nobody compares it with the ring, so it may count from anywhere.
  auto journal = JournalFile::in_memory(attached->entries(), 0);
  if (!journal) return std::unexpected(std::move(journal.error()));
  attached->journal_.emplace(std::move(*journal));
  return attached;
}

Expected<JournaledRing> JournaledRing::attach(std::byte* memory, std::uint32_t pages,
                                              blkif::Layout layout, const JournalPlace& place) {
  RingIndices indices = load_indices(memory);
  if (place.take_over) {
    auto found = judge(place, blkif::ring_entries(layout, pages), indices);
    if (!found && !place.may_be_new) return at(place, std::move(found.error()));
    if (found && found->verdict.use == JournalUse::recover) {
      auto resumed = resume(memory, pages, layout, std::move(found->file));
      return resumed ? std::move(resumed) : at(place, std::move(resumed.error()));
    }
    if (found) indices.response_producer = found->verdict.index;
  }
  const std::uint32_t begin = indices.response_producer;
  auto ring = BackRing::attach(memory, pages, layout, {begin, begin});
  if (!ring) return std::unexpected(std::move(ring.error()));
  auto file = JournalFile::create(place.path, place.identity, ring->entries(), begin);
  if (!file) return std::unexpected(std::move(file.error()));
  JournaledRing attached(*ring);
  attached.journal_.emplace(std::move(*file));
  attached.was_in_use_ = place.take_over || begin != 0;
  return attached;
}

// The journal stays as it is for as long as the ring can still turn out to be of no use.
Expected<JournaledRing> JournaledRing::resume(std::byte* memory, std::uint32_t pages,
                                              blkif::Layout layout, JournalFile file) {
  const auto entries = file.entries(file.header().entries);
  const auto found = recover(file.header(), entries, load_indices(memory));
  if (!found) return std::unexpected(found.error());
  auto ring = BackRing::attach(
      memory, pages, layout,
      {static_cast<std::uint32_t>(found->consumed), static_cast<std::uint32_t>(found->published)});
  if (!ring) return std::unexpected(std::move(ring.error()));
  JournaledRing resumed(*ring);
  // The daemon before us may have died while it wrote these; the guest has not seen them.
  for (const auto& [entry, answer] : found->unpublished) {
    const auto asked = name_of(entries[entry].raw, layout);
    resumed.ring_.put({asked.id, asked.operation, answer.status});
  }
  resumed.open_.assign(found->in_flight.begin(), found->in_flight.end());
  resumed.journal_.emplace(std::move(file), *found);
  resumed.was_in_use_ = true;
  return resumed;
}

RingState JournaledRing::look() noexcept {
  const RingState state = ring_.look();
  return state == RingState::empty && open_left() != 0 ? RingState::waiting : state;
}

RawSlot JournaledRing::copy_next() const noexcept {
  // The journal is nobody's but ours: its copy of a slot is as private as one on the stack.
  return open_left() != 0 ? journal_->raw(open_[open_next_]) : ring_.copy_next();
}

InFlightJournal::Index JournaledRing::consume(const RawSlot& raw) noexcept {
  if (open_left() != 0) return open_[open_next_++];
  const InFlightJournal::Index entry = journal_ ? journal_->take(raw) : 0;
  ring_.consume();
  return entry;
}

void JournaledRing::put(InFlightJournal::Index entry, const Response& response) noexcept {
  if (journal_) journal_->answer(entry, response.status);
  ring_.put(response);
}

void JournaledRing::put_off(InFlightJournal::Index entry) noexcept {
  assert(journal_ && open_left() < entries());
  open_.erase(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(open_next_));
  open_next_ = 0;
  const auto number = [this](InFlightJournal::Index index) { return journal_->number(index); };
  open_.insert(std::ranges::upper_bound(open_, number(entry), {}, number), entry);
}

bool JournaledRing::publish() noexcept {
  const bool wants_event = ring_.publish();
  if (journal_) journal_->published();
  return wants_event;
}

void JournaledRing::end() noexcept {
  if (journal_ && ring_.owed() == 0 && !ring_.has_unpublished()) journal_->drained();
}

}  // namespace xenblk::ringio
