#include "ringio/in_flight_journal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <new>
#include <utility>

namespace xenblk::ringio {
namespace {

// What is above is stored before what is below, as far as this thread is concerned.
void in_this_order() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

template <class T>
void store(T& place, T value) {
  std::atomic_ref<T>(place).store(value, std::memory_order_relaxed);
}

class Descriptor {
 public:
  explicit Descriptor(int n) : n_(n) {}
  ~Descriptor() {
    if (n_ >= 0) ::close(n_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return n_; }

 private:
  int n_;
};

}  // namespace

Expected<JournalFile> JournalFile::create(const std::string& path, const JournalIdentity& identity,
                                          std::uint32_t entries, std::uint32_t begin) {
  const auto unfinished = path + ".new";
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) return fail_os(errno, unfinished);
  const Descriptor file(
      ::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return fail_os(errno, unfinished);
  const std::size_t bytes = journal_bytes(entries);
  // All of it now: a store into a page that the file system has no room for would kill us.
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    return fail_os(error, unfinished);
  }
  auto mapped = map(file.get(), bytes, unfinished);
  if (!mapped) return mapped;
  mapped->format(identity, entries, begin);
  in_this_order();
  if (::rename(unfinished.c_str(), path.c_str()) != 0) return fail_os(errno, path);
  return mapped;
}

Expected<JournalFile> JournalFile::in_memory(std::uint32_t entries, std::uint32_t begin) {
  const std::size_t bytes = journal_bytes(entries);
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return fail_os(errno, "memory for the requests in flight");
  JournalFile file(static_cast<std::byte*>(memory), bytes);
  file.format({}, entries, begin);
  return file;
}

void JournalFile::format(const JournalIdentity& identity, std::uint32_t count,
                         std::uint32_t begin) {
  new (&header())
      JournalHeader{.identity = identity, .entries = count, .consumed = begin, .published = begin};
  for (auto& entry : entries(count)) entry.number = JournalEntry::kNoNumber;
}

Expected<JournalFile> JournalFile::open(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) return fail_os(errno, path);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return fail_os(errno, path);
  const bool ours = S_ISREG(status.st_mode) && (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
  if (!ours) return fail(Errc::bad_journal, path + ": somebody else may write to it");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (bytes < sizeof(JournalHeader) || bytes > journal_bytes(kMaxRingEntries)) {
    return fail(Errc::bad_journal, path + ": the journal is damaged: wrong size");
  }
  return map(file.get(), bytes, path);
}

Expected<JournalFile> JournalFile::map(int descriptor, std::size_t bytes, const std::string& path) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
  if (memory == MAP_FAILED) return fail_os(errno, path);
  return JournalFile(static_cast<std::byte*>(memory), bytes);
}

JournalFile::JournalFile(JournalFile&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

JournalFile& JournalFile::operator=(JournalFile&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

JournalFile::~JournalFile() {
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
}

std::span<JournalEntry> JournalFile::entries(std::uint32_t count) const {
  assert(bytes_ >= journal_bytes(count));
  return {reinterpret_cast<JournalEntry*>(memory_ + kJournalEntriesOffset), count};
}

InFlightJournal::InFlightJournal(JournalFile file)
    : file_(std::move(file)),
      entries_(file_.entries(file_.header().entries)),
      consumed_(file_.header().consumed),
      responded_(file_.header().published),
      free_(entries_.size()),
      free_count_(entries_.size()),
      answered_(entries_.size()) {
  for (std::size_t i = 0; i < free_.size(); ++i)
    free_[i] = static_cast<Index>(free_.size() - 1 - i);
}

InFlightJournal::InFlightJournal(JournalFile file, const JournalRecovery& found)
    : file_(std::move(file)),
      entries_(file_.entries(file_.header().entries)),
      consumed_(found.consumed),
      responded_(found.published + found.unpublished.size()),
      free_(found.free),
      free_count_(found.free.size()),
      answered_(entries_.size()) {
  free_.resize(entries_.size());
  // Whatever is free may be used again from here on, so the file has to say so first: an answer
  // that the guest sees, and a request that was about to be taken.
  store(file_.header().published, found.published);
  in_this_order();
  for (const Index index : found.free) store(entries_[index].number, JournalEntry::kNoNumber);
  in_this_order();
  for (const auto& unpublished : found.unpublished)
    answered_[answered_count_++] = unpublished.entry;
}

InFlightJournal::Index InFlightJournal::take(const RawSlot& raw) noexcept {
  assert(has_room());
  const Index index = free_[--free_count_];
  JournalEntry& entry = entries_[index];
  // With the number of a request that is yet to be taken the entry still counts as free, whatever
  // else is in it.
  store(entry.number, consumed_);
  in_this_order();
  entry.raw = raw;
  store(entry.answer, std::uint64_t{0});
  in_this_order();
  store(file_.header().consumed, ++consumed_);
  in_this_order();
  return index;
}

void InFlightJournal::answer(Index index, blkif::Status status) noexcept {
  assert(answered_count_ < answered_.size());
  assert(entries_[index].answer == 0);
  store(entries_[index].answer, pack({responded_++, status}));
  answered_[answered_count_++] = index;
  in_this_order();
}

void InFlightJournal::published() noexcept {
  in_this_order();
  store(file_.header().published, responded_);
  in_this_order();
  while (answered_count_ != 0) free_[free_count_++] = answered_[--answered_count_];
  assert(free_count_ <= free_.size());
}

void InFlightJournal::drained() noexcept {
  assert(consumed_ == responded_ && answered_count_ == 0);
  store(file_.header().drained_at, static_cast<std::uint32_t>(responded_));
  in_this_order();
  store(file_.header().state, JournalState::drained);
}

}  // namespace xenblk::ringio
