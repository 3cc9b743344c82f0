// A ring whose requests are noted in a journal, if it has one: the two are changed only together,
// in the order that recover() relies on. After a daemon that was killed it begins with the requests
// that it left open, in the order in which they were taken, before those that are new in the ring.
// Move-only; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ringio/in_flight_journal.h"
#include "ringio/ring.h"

namespace xenblk::ringio {

// Where a queue's journal is, and what is expected there.
struct JournalPlace {
  std::string path;
  JournalIdentity identity;
  // The guest is connected to a daemon before us: its journal must be there. Otherwise the
  // connection is new, and so is the journal.
  bool take_over = false;
  // The guest may have made its rings anew since. What is there is taken over only where it fits.
  bool may_be_new = false;
};

class JournaledRing {
 public:
  // Without a journal. Errors: BackRing::attach.
  static Expected<JournaledRing> attach(std::byte* memory, std::uint32_t pages,
                                        blkif::Layout layout);
  // Errors: besides, bad_journal with the path in its text (nothing was changed), and those of
  // JournalFile::create.
  static Expected<JournaledRing> attach(std::byte* memory, std::uint32_t pages,
                                        blkif::Layout layout, const JournalPlace& place);
  // With one that is no file, for those who put requests off. Errors: besides, no_memory.
  static Expected<JournaledRing> attach_remembering(std::byte* memory, std::uint32_t pages,
                                                    blkif::Layout layout);

  RingState look() noexcept;
  std::uint32_t available() const noexcept { return open_left() + ring_.available(); }
  // False: the next request has to wait until the responses so far are published. It never does for
  // a guest that keeps to the protocol.
  bool can_take() const noexcept { return !journal_ || open_left() != 0 || journal_->has_room(); }
  RawSlot copy_next() const noexcept;
  // Takes what copy_next() gave. The answer is to name the entry that this returns.
  InFlightJournal::Index consume(const RawSlot& raw) noexcept;

  RingState arm() noexcept { return ring_.arm(); }
  void disarm() noexcept { ring_.disarm(); }

  void put(InFlightJournal::Index entry, const Response& response) noexcept;
  [[nodiscard]] bool publish() noexcept;
  bool has_unpublished() const noexcept { return ring_.has_unpublished(); }

  // Only with a journal. A request that was taken and is not answered will be taken again: in the
  // order in which they were taken at first, and before those that are new in the ring. To the
  // journal it is open as before, so a daemon after us serves it in the same order.
  void put_off(InFlightJournal::Index entry) noexcept;
  // To be taken before those that are new in the ring.
  std::uint32_t open_left() const noexcept {
    return static_cast<std::uint32_t>(open_.size() - open_next_);
  }

  // Nothing will be taken any more. When nothing is open either, the journal says so.
  void end() noexcept;

  // The ring was in use before: an event may have been lost.
  bool was_in_use() const noexcept { return was_in_use_; }
  std::uint32_t entries() const noexcept { return ring_.entries(); }
  std::uint32_t distance() const noexcept { return ring_.distance(); }

 private:
  explicit JournaledRing(BackRing ring) : ring_(ring) { open_.reserve(ring_.entries()); }
  static Expected<JournaledRing> resume(std::byte* memory, std::uint32_t pages,
                                        blkif::Layout layout, JournalFile file);
  BackRing ring_;
  std::optional<InFlightJournal> journal_;
  // Left by a daemon before us, or put off. Never more than the ring has entries.
  std::vector<InFlightJournal::Index> open_;
  std::size_t open_next_ = 0;
  bool was_in_use_ = false;
};

}  // namespace xenblk::ringio
