// The in-flight journal as a daemon finds it: left at any moment by one that was killed, and
// sometimes damaged since, beside a ring that its guest has gone on with.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ringio/decode.h"
#include "ringio/journal_recovery.h"
#include "ringio/journaled_ring.h"
#include "ringio/shared_memory.h"
#include "tests/fuzz/reader.h"

namespace xenblk::fuzz {
namespace {

using namespace ringio;

constexpr JournalIdentity kIdentity{.domain = 7, .device = 51712, .port = 3, .ring_pages = 1};

blkif::Status any_status(Reader& input) {
  return static_cast<blkif::Status>(-static_cast<int>(input.below(3)));
}

// Changes single bytes, so that most of what is looked at stays right.
void damage(Reader& input, std::span<std::byte> memory) {
  if (memory.empty()) return;
  memory[input.below(memory.size())] = static_cast<std::byte>(input.u8());
}

// A journal and what it has to say, in memory.
class Noted {
 public:
  explicit Noted(Reader& input)
      : input_(input), entries_(std::size_t{1} << input.below(6)), begin_(beginning(input)) {
    header_ = {.identity = kIdentity,
               .entries = static_cast<std::uint32_t>(entries_.size()),
               .consumed = begin_,
               .published = begin_};
    bytes_ = journal_bytes(header_.entries);
    for (auto& entry : entries_) entry.number = JournalEntry::kNoNumber;
    for (std::uint16_t i = 0; i < entries_.size(); ++i) free_.push_back(i);
  }

  void run() {
    for (int moves = 0; moves < 100 && !input_.empty() && !ended_; ++moves) move();
    ring_.request_producer =
        static_cast<std::uint32_t>(header_.consumed + input_.below(entries_.size() + 1));
    ring_.response_producer = static_cast<std::uint32_t>(responded_ - unseen_.size());
    for (; !input_.empty() && changes_ < 4; ++changes_) change();
    look();
  }

 private:
  // Mostly small, and sometimes where indices or the numbers themselves wrap around.
  static std::uint64_t beginning(Reader& input) {
    const auto kind = input.below(8);
    if (kind < 5) return input.u8();
    return (std::uint64_t{1} << (kind == 7 ? 61 : 32)) - 1 - input.below(64);
  }

  void move() {
    const auto what = input_.below(16);
    if (what < 6 && !free_.empty()) {
      const auto index = free_.back();
      free_.pop_back();
      entries_[index] = {.number = header_.consumed++};
      open_.push_back(index);
    } else if (what < 10 && !open_.empty()) {
      const auto place = open_.begin() + static_cast<std::ptrdiff_t>(input_.below(open_.size()));
      unseen_.push_back({*place, {responded_++, any_status(input_)}});
      entries_[*place].answer = pack(unseen_.back().answer);
      open_.erase(place);
    } else if (what < 13) {
      for (const auto& one : unseen_) free_.push_back(one.entry);
      unseen_.clear();
      header_.published = responded_;
    } else if (what == 13) {
      // Killed after the index went out and before that was noted.
      unseen_.clear();
      ended_ = true;
    } else if (what == 14 && !free_.empty()) {
      // Killed in the middle of taking.
      entries_[free_.back()] = {.number = header_.consumed, .answer = input_.u64()};
      ended_ = true;
    }
  }

  void change() {
    switch (input_.below(8)) {
      case 0:
        return damage(input_, std::as_writable_bytes(std::span(&ring_, 1)));
      case 1:
        bytes_ = input_.u16();
        return;
      case 2:
      case 3:
        return damage(input_, std::as_writable_bytes(std::span(&header_, 1)));
      case 4:
        header_.state = JournalState::drained;
        return;
      default:
        return damage(input_, std::as_writable_bytes(std::span(entries_)));
    }
  }

  void look() const {
    const auto count = static_cast<std::uint32_t>(entries_.size());
    const auto verdict = judge_journal(header_, bytes_, kIdentity, count, ring_);
    if (changes_ == 0) FUZZ_EXPECT_OK(verdict);
    if (!verdict) return FUZZ_EXPECT(verdict.error().code == Errc::bad_journal);
    if (verdict->use == JournalUse::begin_at) return FUZZ_EXPECT(changes_ > 0);
    const auto found = recover(header_, entries_, ring_);
    if (changes_ == 0) FUZZ_EXPECT_OK(found);
    if (!found) return FUZZ_EXPECT(found.error().code == Errc::bad_journal);
    agrees_with_itself(*found);
    if (changes_ == 0) is_what_was_noted(*found);
  }

  void agrees_with_itself(const JournalRecovery& found) const {
    std::vector<int> times(entries_.size(), 0);
    for (const auto index : found.free) ++times.at(index);
    for (const auto index : found.in_flight) ++times.at(index);
    for (const auto& one : found.unpublished) ++times.at(one.entry);
    FUZZ_EXPECT(std::ranges::all_of(times, [](int n) { return n == 1; }));
    FUZZ_EXPECT(static_cast<std::uint32_t>(found.published) == ring_.response_producer);
    FUZZ_EXPECT(found.published + found.unpublished.size() + found.in_flight.size() ==
                found.consumed);
    for (std::size_t i = 0; i < found.unpublished.size(); ++i) {
      FUZZ_EXPECT(found.unpublished[i].answer.response == found.published + i);
    }
    for (std::size_t i = 1; i < found.in_flight.size(); ++i) {
      FUZZ_EXPECT(entries_[found.in_flight[i - 1]].number < entries_[found.in_flight[i]].number);
    }
  }

  void is_what_was_noted(const JournalRecovery& found) const {
    FUZZ_EXPECT(found.consumed == header_.consumed);
    FUZZ_EXPECT(found.in_flight == open_);
    FUZZ_EXPECT(std::ranges::equal(found.unpublished, unseen_, [](const auto& a, const auto& b) {
      return a.entry == b.entry && a.answer == b.answer;
    }));
  }

  Reader& input_;
  std::vector<JournalEntry> entries_;
  const std::uint64_t begin_;
  JournalHeader header_;
  RingIndices ring_;
  std::size_t bytes_ = 0;
  std::uint64_t responded_ = begin_;
  std::vector<std::uint16_t> free_, open_;
  std::vector<UnpublishedAnswer> unseen_;  // answers that the guest does not see yet
  bool ended_ = false;
  int changes_ = 0;
};

// In memory, as it must be. One for all inputs: making it anew costs more than all else.
const std::string& journal_path() {
  struct Path {
    std::string text = "/dev/shm/xenblk-fuzz-" + std::to_string(::getpid());
    Path() = default;
    Path(const Path&) = delete;
    Path& operator=(const Path&) = delete;
    ~Path() {
      std::error_code ignored;
      std::filesystem::remove(text, ignored);
    }
  };
  static const Path kPath;
  return kPath.text;
}

// A guest and one daemon after the other on its ring.
class Served {
 public:
  explicit Served(Reader& input)
      : input_(input),
        layout_(input.below(2) == 0 ? blkif::Layout::x86_32 : blkif::Layout::x86_64),
        entries_(blkif::ring_entries(layout_, 1)) {
    std::ranges::fill(memory(), std::byte{0});
    const auto begin = input.below(4) == 3 ? 0U - static_cast<std::uint32_t>(input.u8()) : 0U;
    asked_ = seen_ = begin;
    store(blkif::RingOffsets::req_prod, begin);
    store(blkif::RingOffsets::rsp_prod, begin);
    FUZZ_EXPECT(attach(false));
  }

  void run() {
    for (int moves = 0; moves < 200 && !input_.empty() && ring_; ++moves) move();
    if (!ring_) return;
    finish();
    if (!harmed_) FUZZ_EXPECT(outstanding_.empty());
  }

 private:
  static std::span<std::byte> memory() {
    alignas(kPageBytes) static std::array<std::byte, kPageBytes> page;
    return page;
  }
  static void store(std::size_t at, std::uint32_t value) {
    store_shared<std::uint32_t>(memory().data(), at, value);
  }

  bool attach(bool take_over) {
    const JournalPlace place{
        .path = journal_path(), .identity = kIdentity, .take_over = take_over, .may_be_new = false};
    auto ring = JournaledRing::attach(memory().data(), 1, layout_, place);
    if (!harmed_) FUZZ_EXPECT_OK(ring);
    if (!ring) {
      FUZZ_EXPECT(ring.error().code == Errc::bad_journal || ring.error().code == Errc::refused);
      return false;
    }
    ring_.emplace(std::move(*ring));
    taken_.clear();
    // Before anything else, as a queue does it.
    if (ring_->has_unpublished()) publish();
    return true;
  }

  void move() {
    const auto what = input_.u8();
    switch (what % 16) {
      case 0:
      case 1:
      case 2:
      case 3:
        return ask();
      case 4:
      case 5:
      case 6:
        return take();
      case 7:
      case 8:
      case 9:
        return answer();
      case 10:
      case 11:
        if (ring_->has_unpublished()) publish();
        return;
      case 12:
        finish();
        if (ring_) ring_->end();
        return next_daemon();
      case 13:
        return what < 128 ? next_daemon() : take();
      case 14:
        if (what < 192) return;
        harmed_ = true;
        if (input_.below(2) == 0) return damage(input_, memory().first(16));
        return damage(input_, memory());
      default:
        return what < 192 ? answer() : next_daemon_after_damage();
    }
  }

  void ask() {
    if (outstanding_.size() >= entries_) return;
    const auto& at = blkif::offsets(layout_);
    auto slot =
        memory().subspan(blkif::RingOffsets::slots + (asked_ % entries_) * at.slot, at.slot);
    slot[at.operation] = std::byte{0};
    std::memcpy(slot.data() + at.id, &next_id_, sizeof next_id_);
    outstanding_.push_back(next_id_++);
    store(blkif::RingOffsets::req_prod, ++asked_);
  }

  void take() {
    if (ring_->look() != RingState::waiting) return;
    if (!ring_->can_take()) return;
    const auto raw = ring_->copy_next();
    taken_.push_back({ring_->consume(raw), name_of(raw, layout_)});
  }

  void answer() {
    if (taken_.empty()) return;
    const auto place = taken_.begin() + static_cast<std::ptrdiff_t>(input_.below(taken_.size()));
    ring_->put(place->entry, {place->name.id, place->name.operation, any_status(input_)});
    taken_.erase(place);
  }

  void publish() {
    static_cast<void>(ring_->publish());
    if (!harmed_) see();
  }

  // The guest finds each request that it has asked for answered once.
  void see() {
    const auto end = load_shared<std::uint32_t>(memory().data(), blkif::RingOffsets::rsp_prod);
    const auto& at = blkif::offsets(layout_);
    for (; seen_ != end; ++seen_) {
      std::uint64_t id = 0;
      std::memcpy(
          &id,
          memory().data() + blkif::RingOffsets::slots + (seen_ % entries_) * at.slot + at.rsp_id,
          sizeof id);
      FUZZ_EXPECT(std::erase(outstanding_, id) == 1);
    }
  }

  // All that was asked for is answered, and soon.
  void finish() {
    for (std::uint32_t rounds = 0;; ++rounds) {
      FUZZ_EXPECT(rounds < 4 * entries_);
      take();
      if (taken_.empty() && !ring_->has_unpublished()) return;
      while (!taken_.empty()) answer();
      if (ring_->has_unpublished()) publish();
    }
  }

  void next_daemon() {
    ring_.reset();
    attach(true);
  }

  void next_daemon_after_damage() {
    ring_.reset();
    harmed_ = true;
    const int file = ::open(journal_path().c_str(), O_RDWR | O_CLOEXEC);
    FUZZ_EXPECT(file >= 0);
    const auto bytes = journal_bytes(entries_);
    for (auto count = 1 + input_.below(4); count > 0; --count) {
      const auto byte = input_.u8();
      const auto offset = static_cast<off_t>(input_.below(input_.below(2) == 0 ? 128 : bytes));
      FUZZ_EXPECT(::pwrite(file, &byte, 1, offset) == 1);
    }
    if (input_.below(16) == 15) {
      FUZZ_EXPECT(::ftruncate(file, static_cast<off_t>(input_.below(bytes * 2))) == 0);
    }
    ::close(file);
    attach(true);
  }

  struct Taken {
    InFlightJournal::Index entry;
    RequestName name;
  };

  Reader& input_;
  const blkif::Layout layout_;
  const std::uint32_t entries_;
  std::optional<JournaledRing> ring_;
  std::vector<Taken> taken_;
  std::vector<std::uint64_t> outstanding_;
  std::uint64_t next_id_ = 1;
  std::uint32_t asked_ = 0, seen_ = 0;
  bool harmed_ = false;  // ring or journal
};

}  // namespace

// What is recovered is what was noted; of a damaged journal, nothing that contradicts itself.
void journal_recovery(Input bytes) {
  Reader input(bytes);
  Noted(input).run();
}

// Each request is answered once, over any number of daemons; a damaged journal ends none of them.
void journal_files(Input bytes) {
  Reader input(bytes);
  Served(input).run();
}

}  // namespace xenblk::fuzz
