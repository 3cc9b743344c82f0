// A backend that is killed between any two instructions: after each one that stored something, the
// journal and the ring say what was said before the operation under way or what it leads to, and
// nothing in between. Some of those states are then gone on with by the next backend.
//
// Not under sanitizers: instrumented code has other instructions than what is shipped, and a
// thousand times as many.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>

#include "ringio/decode.h"
#include "ringio/journaled_ring.h"
#include "tests/ringio/guest_queue.h"
#include "tests/ringio/slot_bytes.h"
#include "tests/ringio/stepped_child.h"
#include "tests/rounds.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::ringio::test {
namespace {

enum class Move : std::uint32_t { attach, take, put, publish };

// What the test tells the backend to do next, and what that has done. Shared by both.
struct Control {
  std::uint32_t done = 0;  // moves
  Move move = Move::attach;
  std::uint64_t id = 0;  // put: of the request
  blkif::Status status = blkif::Status::okay;
  std::uint32_t open = 0;  // attach: requests that must come back, in this order
  std::array<std::uint64_t, 32> open_ids = {};
};

struct Answered {
  std::uint64_t id;
  blkif::Status status;
  bool operator==(const Answered&) const = default;
};

// Where a queue stands, by the ids of its requests.
struct Position {
  std::uint64_t published = 0;
  std::vector<Answered> unpublished;
  std::vector<std::uint64_t> in_flight;
  bool operator==(const Position&) const = default;
};

Position after(const Control& control, Position position, std::uint64_t next_taken) {
  switch (control.move) {
    case Move::take:
      position.in_flight.push_back(next_taken);
      break;
    case Move::put:
      std::erase(position.in_flight, control.id);
      position.unpublished.push_back({control.id, control.status});
      break;
    case Move::attach:
    case Move::publish:
      position.published += position.unpublished.size();
      position.unpublished.clear();
      break;
  }
  return position;
}

// The backend's process. Every result but 0 is a failure.
int backend(Control& control, std::byte* memory, blkif::Layout layout, const JournalPlace& place) {
  auto ring = JournaledRing::attach(memory, 1, layout, place);
  if (!ring) return 1;
  if (ring->has_unpublished()) static_cast<void>(ring->publish());
  std::map<std::uint64_t, InFlightJournal::Index> entries;
  const auto take = [&] {
    const RawSlot raw = ring->copy_next();
    const auto name = name_of(raw, layout);
    entries[name.id] = ring->consume(raw);
    return name.id;
  };
  for (std::uint32_t i = 0; i < control.open; ++i) {
    if (ring->look() != RingState::waiting || take() != control.open_ids[i]) return 2;
  }
  // The test looks after every instruction, as another thread would.
  const std::atomic_ref done(control.done);
  for (;;) {
    done.store(done.load() + 1);
    switch (std::atomic_ref(control.move).load()) {
      case Move::take:
        if (ring->look() != RingState::waiting || !ring->can_take()) return 3;
        take();
        break;
      case Move::put:
        ring->put(entries.at(control.id), {control.id, wire(blkif::Op::read), control.status});
        break;
      case Move::publish:
        static_cast<void>(ring->publish());
        break;
      case Move::attach:
        return 4;
    }
  }
}

class JournalKill : public testing::TestWithParam<blkif::Layout> {
 protected:
  JournalKill() {
    void* const memory =
        ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    control_ = new (memory) Control;
    place_.path = directory_.path("queue");
    place_.identity.queue = 3;
  }
  ~JournalKill() override { ::munmap(control_, sizeof(Control)); }

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  // Runs a backend for so many instructions, and kills it.
  void run_backend(std::uint64_t steps) {
    control_->move = Move::attach;
    control_->open = static_cast<std::uint32_t>(position_.in_flight.size());
    std::ranges::copy(position_.in_flight, control_->open_ids.begin());
    done_ = control_->done;
    SteppedChild child([&] { return backend(*control_, memory(), GetParam(), place_); });
    for (; steps != 0 && child.alive() && !HasFailure(); --steps) {
      child.step();
      if (changed()) look(), guest_moves_sometimes();
      if (control_->done != done_) move_done();
    }
    EXPECT_EQ(child.exit_status(), -1);
    child.kill();
    // The move under way was made or was not; the next backend goes on from there.
    if (place_.take_over) position_ = found();
  }

  void move_done() {
    done_ = control_->done;
    position_ = next();
    if (!place_.take_over) journal_.emplace(*JournalFile::open(place_.path));
    place_.take_over = true;
    ++moves_;
    EXPECT_EQ(found(), position_);
    guest_moves();
    choose_move();
  }

  // The id of the request that is taken next.
  std::uint64_t next_taken() const {
    const auto taken =
        position_.published + position_.unpublished.size() + position_.in_flight.size();
    return taken < asked_.size() ? asked_[taken] : 0;
  }
  Position next() const { return after(*control_, position_, next_taken()); }

  void choose_move() {
    const bool can_take = next_taken() != 0;
    const auto choice = below(5);
    if (choice < 2 && can_take) {
      control_->move = Move::take;
    } else if (choice < 4 && !position_.in_flight.empty()) {
      control_->move = Move::put;
      control_->id = position_.in_flight[below(position_.in_flight.size())];
      control_->status = static_cast<blkif::Status>(-static_cast<int>(below(3)));
      statuses_[control_->id] = control_->status;
    } else if (!position_.unpublished.empty()) {
      control_->move = Move::publish;
    } else {
      control_->move = can_take ? Move::take : Move::put;
      if (!can_take)
        control_->id = position_.in_flight.front(), statuses_[control_->id] = control_->status;
    }
  }

  // The guest takes what it sees and asks for more, in the slots that became free.
  void guest_moves() {
    while (const auto response = queue_.ring.take_response()) {
      EXPECT_EQ(response->status, statuses_.at(response->id));
      ++seen_;
    }
    EXPECT_EQ(queue_.ring.violation().value_or("none"), "none");
    for (auto more = below(4) + (queue_.ring.outstanding() == 0 ? 1 : 0);
         more != 0 && queue_.ring.room() != 0; --more) {
      asked_.push_back(queue_.put(queue_.read(8 * asked_.size(), page_.ref)));
    }
    static_cast<void>(queue_.ring.publish());
  }
  void guest_moves_sometimes() {
    if (below(8) == 0) guest_moves();
  }

  // What a backend that comes now would find.
  Position found() {
    const RingIndices ring{queue_.ring.load_index(blkif::RingOffsets::req_prod),
                           queue_.ring.load_index(blkif::RingOffsets::rsp_prod)};
    const auto entries = journal_->entries(journal_->header().entries);
    const auto recovery = recover(journal_->header(), entries, ring);
    if (!recovery) return ADD_FAILURE() << describe(recovery.error()), Position{};
    const auto id = [&](std::uint16_t entry) { return name_of(entries[entry].raw, GetParam()).id; };
    Position position{.published = recovery->published};
    for (const auto& [entry, answer] : recovery->unpublished) {
      position.unpublished.push_back({id(entry), answer.status});
    }
    for (const auto entry : recovery->in_flight) position.in_flight.push_back(id(entry));
    return position;
  }

  bool changed() {
    if (!place_.take_over) return false;  // the first one has yet to make the journal
    std::span<const std::byte> journal = std::as_bytes(journal_->entries(32));
    journal = {journal.data() - kJournalEntriesOffset, journal_->bytes()};
    const auto ring = queue_.ring.memory();
    if (std::ranges::equal(journal, seen_journal_) && std::ranges::equal(ring, seen_ring_)) {
      return false;
    }
    seen_journal_.assign(journal.begin(), journal.end());
    seen_ring_.assign(ring.begin(), ring.end());
    return true;
  }
  void look() {
    const Position now = found();
    EXPECT_TRUE(now == position_ || now == next()) << "in move " << control_->done;
    ++states_;
  }

  // As the backend has it mapped.
  std::byte* memory() { return queue_.ring.memory().data(); }

  xenblk::test::TempDir directory_;
  JournalPlace place_;
  Control* control_;
  loopback::LoopbackXen xen_;
  GuestQueue queue_{xen_.create_domain({7}), GetParam()};
  GuestPage page_ = queue_.page();
  std::mt19937_64 random_{1};
  Position position_;
  std::deque<std::uint64_t> asked_;                  // ids, in the order of asking
  std::map<std::uint64_t, blkif::Status> statuses_;  // with which they are answered
  std::optional<JournalFile> journal_;
  std::vector<std::byte> seen_journal_, seen_ring_;
  std::uint32_t done_ = 0;
  int moves_ = 0, states_ = 0;
  std::size_t seen_ = 0;  // responses, by the guest
};

TEST_P(JournalKill, LeavesEachRequestInOneStateAfterEveryInstruction) {
  guest_moves();
  const int backends = xenblk::test::single_threaded_rounds(6);
  for (int i = 0; i < backends && !HasFailure(); ++i) {
    run_backend(12'000 + below(12'000));
  }
  // All that the guest asked for is answered in the end, and once.
  RecordProperty("moves", moves_);
  RecordProperty("states", states_);
  RecordProperty("responses", static_cast<int>(seen_));
  EXPECT_GT(moves_, 5 * backends);
  EXPECT_GT(states_, 3 * moves_);
}

INSTANTIATE_TEST_SUITE_P(Layouts, JournalKill,
                         testing::Values(blkif::Layout::x86_32, blkif::Layout::x86_64),
                         [](const auto& tested) { return layout_name(tested.param); });

}  // namespace
}  // namespace xenblk::ringio::test

#endif
