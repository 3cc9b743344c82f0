// The in-flight journal of one queue (journal_format.h): a file that is mapped shared, kept up to
// date with plain stores. They are ordered such that this process can be killed between any two
// instructions, and recover() still tells what became of each request. Move-only; one thread; a
// request costs no system call, no lock and no memory.
//
// What orders the stores is the program's own order: whoever reads the journal does so after this
// thread is dead, so only the compiler has to be kept from moving them. It is no protection against
// a crash of the machine, which takes the guests along.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ringio/journal_format.h"
#include "ringio/journal_recovery.h"
#include "xenblk/error.h"

namespace xenblk::ringio {

// A journal's place in memory. Move-only.
class JournalFile {
 public:
  // Makes an empty journal whose ring stands at `begin`, under another name first, so that there is
  // a whole file or none. Replaces what is there. Errors: no_space, permission, io.
  static Expected<JournalFile> create(const std::string& path, const JournalIdentity& identity,
                                      std::uint32_t entries, std::uint32_t begin);
  // Errors: not_found, bad_journal (too small, or not a file that only its owner may touch), io.
  static Expected<JournalFile> open(const std::string& path);
  // An empty one that is no file: for a queue that must remember its requests, but not beyond our
  // death. Errors: no_memory.
  static Expected<JournalFile> in_memory(std::uint32_t entries, std::uint32_t begin);

  JournalFile(JournalFile&& other) noexcept;
  JournalFile& operator=(JournalFile&& other) noexcept;
  ~JournalFile();

  std::size_t bytes() const { return bytes_; }
  JournalHeader& header() const { return *reinterpret_cast<JournalHeader*>(memory_); }
  // Only once the file's size has been found to be that of so many.
  std::span<JournalEntry> entries(std::uint32_t count) const;

 private:
  JournalFile(std::byte* memory, std::size_t bytes) : memory_(memory), bytes_(bytes) {}
  void format(const JournalIdentity& identity, std::uint32_t count, std::uint32_t begin);
  static Expected<JournalFile> map(int descriptor, std::size_t bytes, const std::string& path);
  std::byte* memory_;
  std::size_t bytes_;
};

class InFlightJournal {
 public:
  using Index = std::uint16_t;

  // Of a file that was just made.
  explicit InFlightJournal(JournalFile file);
  // Goes on with one that was recovered. All of what recover() found stays true in the file
  // whatever happens, until the requests are answered.
  InFlightJournal(JournalFile file, const JournalRecovery& found);

  // Room for one more request. There is room for as many as the ring has entries; answered ones
  // count until their responses are published.
  bool has_room() const { return free_count_ != 0; }

  // The next request of the ring was taken. Before anything is done for it.
  Index take(const RawSlot& raw) noexcept;
  // The next response of the ring will be this one. Before it is put there.
  void answer(Index index, blkif::Status status) noexcept;
  // All responses can be seen. After the ring's index says so.
  void published() noexcept;
  // Nothing is open, and nothing will be taken any more.
  void drained() noexcept;

  const RawSlot& raw(Index index) const { return entries_[index].raw; }
  // Of all requests that were taken: which one this is.
  std::uint64_t number(Index index) const { return entries_[index].number; }

 private:
  JournalFile file_;
  std::span<JournalEntry> entries_;
  std::uint64_t consumed_ = 0;
  std::uint64_t responded_ = 0;
  // The one used last is the first to be used again: its memory is the warmest.
  std::vector<Index> free_;
  std::size_t free_count_ = 0;
  std::vector<Index> answered_;  // free once their responses are published
  std::size_t answered_count_ = 0;
};

}  // namespace xenblk::ringio
