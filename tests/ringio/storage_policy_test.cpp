// A storage that fails: what is decided, and how a queue gets over it.
#include "ringio/storage_policy.h"

#include <gtest/gtest.h>

#include "tests/ringio/core_world.h"
#include "tests/vhd/temp_dir.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;
using std::chrono::milliseconds;
using enum OnFailure;
using Change = StorageNotice::Change;

constexpr StoragePolicy kPauses{.on_error = pause, .on_no_space = pause};

// --- the decision alone ---
OnFailure reaction(IoStatus status, ImageOp op = ImageOp::write, bool cached = false) {
  return reaction_to({status, op, cached}, {.on_error = stop, .on_no_space = pause});
}

TEST(StoragePolicy, ReportsEverythingUnlessTold) {
  for (const auto status : {IoStatus::io_error, IoStatus::no_space}) {
    EXPECT_EQ(reaction_to({status, ImageOp::write, false}, {}), report);
  }
}
TEST(StoragePolicy, HasAReactionToErrorsAndOneToMissingSpace) {
  EXPECT_EQ(reaction(IoStatus::io_error), stop);
  EXPECT_EQ(reaction(IoStatus::no_space), pause);
}
TEST(StoragePolicy, ReportsWhatWouldFailForEver) {
  for (const auto status : {IoStatus::read_only, IoStatus::out_of_range, IoStatus::unsupported}) {
    EXPECT_EQ(reaction_to({status, ImageOp::write, false}, {.on_error = stop, .on_no_space = stop}),
              report);
  }
}
TEST(StoragePolicy, DoesNotRepeatAFlushOfThePageCache) {
  EXPECT_EQ(reaction(IoStatus::no_space, ImageOp::flush, true), report);
  EXPECT_EQ(reaction(IoStatus::no_space, ImageOp::flush, false), pause);
  EXPECT_EQ(reaction(IoStatus::no_space, ImageOp::write, true), pause);
  EXPECT_EQ(reaction(IoStatus::io_error, ImageOp::flush, true), stop);
}
TEST(StoragePolicy, WaitsTwiceAsLongEachTimeUpToFiveSeconds) {
  const int expected_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
  for (std::uint32_t failures = 1; failures <= 8; ++failures) {
    EXPECT_EQ(retry_after(failures), milliseconds(expected_ms[failures - 1]));
  }
  EXPECT_EQ(retry_after(0), milliseconds(100));
  EXPECT_EQ(retry_after(~0U), milliseconds(5000));
}

// --- a queue ---
class FailingStorage : public OneQueue {
 protected:
  QueueId connect_with(StoragePolicy policy) {
    auto setup = queue.setup(world.image);
    setup.storage = {policy, refuses, [this](const auto& told) { changes.push_back(told); }};
    return world.connect(std::move(setup));
  }
  // Passes until nothing is left to do now; time goes on only where a test says so.
  void settle() {
    for (int pass = 0; pass < 20; ++pass) world.core->pass(LoopEngine::kNoWait);
  }
  void send_write(std::uint64_t sector, std::byte fill = std::byte{0x11}) {
    queue.send(queue.write(sector, queue.page(Access::read_only, fill).ref));
    world.pass_events();
    settle();
  }
  void wait(milliseconds time) {
    world.clock.advance(time);
    settle();
  }
  std::vector<Change> told() const {
    std::vector<Change> all;
    for (const auto& one : changes) all.push_back(one.change);
    return all;
  }
  void expect_one_error() {
    const auto answers = queue.take();
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].status, Status::error);
  }
  FrontendRequest barrier(std::uint64_t sector, std::byte fill) {
    return queue.transfer(Op::write_barrier, sector, {{queue.page(Access::read_only, fill).ref}});
  }

  std::shared_ptr<std::atomic<bool>> refuses = std::make_shared<std::atomic<bool>>();
  std::vector<StorageNotice> changes;
};
XENBLK_FOR_ALL_LAYOUTS(FailingStorage);

TEST_P(FailingStorage, IsReportedUnlessTold) {
  connect_with({});
  world.image->fail_next(IoStatus::no_space);
  EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), Status::error);
  EXPECT_TRUE(changes.empty());
}

TEST_P(FailingStorage, KeepsARequestUntilThereIsSpace) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(8, std::byte{0x42});
  wait(milliseconds(50));
  EXPECT_TRUE(queue.take().empty());
  EXPECT_EQ(queue.counters->kept.get(), 1U);
  EXPECT_EQ(told(), (std::vector{Change::waits}));
  EXPECT_EQ(changes[0].failure.status, IoStatus::no_space);
  EXPECT_EQ(changes[0].first, SectorIndex{8});
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(50));
  const auto answers = queue.take();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, Status::okay);
  EXPECT_EQ(world.image->sectors(8, 1)[0], std::byte{0x42});
  EXPECT_EQ(told(), (std::vector{Change::waits, Change::recovered}));
  EXPECT_EQ(queue.counters->kept.get(), 0U);
  EXPECT_EQ(queue.counters->retries.get(), 1U);
  EXPECT_EQ((*queue.counters)[Trouble::image_failed].get(), 0U) << "the guest has seen no error";
}

TEST_P(FailingStorage, HoldsNoSlotAndNoMemoryForWhatItKeeps) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::io_error);
  for (int i = 0; i < 20; ++i) queue.put(queue.write(8, page.ref));
  send_write(0);
  EXPECT_EQ(queue.counters->kept.get(), 21U);
  EXPECT_EQ(world.core->counters().slots_in_use.get(), 0U);
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(100));
  EXPECT_EQ(queue.take().size(), 21U);
}

TEST_P(FailingStorage, TriesAgainLaterEachTimeAndTellsOnce) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::io_error);
  send_write(0);
  const std::pair<int, std::size_t> tries[] = {{99, 1}, {1, 2}, {199, 2}, {1, 3}, {399, 3}, {1, 4}};
  for (const auto& [ms, submitted] : tries) {
    wait(milliseconds(ms));
    EXPECT_EQ(world.image->log().size(), submitted);
  }
  EXPECT_EQ(told(), (std::vector{Change::waits}));
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(800));
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(FailingStorage, SleepsUntilItIsTimeToTryAgain) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::io_error);
  send_write(0);
  world.pass();
  EXPECT_GT(world.engine.last_patience, milliseconds(90));
  EXPECT_LE(world.engine.last_patience, milliseconds(100));
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(100));
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(FailingStorage, TakesNothingNewBeforeAllThatWasKeptIsDone) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(0);
  queue.send(queue.read(16, page.ref));
  world.pass_events();
  wait(milliseconds(100));
  EXPECT_EQ(world.image->log(), (std::vector{ImageOp::write, ImageOp::write}));
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(200));
  EXPECT_EQ(queue.take().size(), 2U);
  EXPECT_EQ(world.image->log().back(), ImageOp::read);
}

TEST_P(FailingStorage, ResumingTriesAtOnce) {
  const QueueId id = connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(0);
  wait(milliseconds(3000));
  world.image->fail_changes(IoStatus::okay);
  world.core->resume(id);
  settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

// A write before a barrier must be there when the barrier is answered, and what comes after a
// barrier not before.
TEST_P(FailingStorage, ABarrierDoesNotOvertakeAWriteThatWasPutOff) {
  connect_with(kPauses);
  world.image->fail_next(IoStatus::no_space);
  world.image->hold();
  queue.put(queue.write(0, queue.page(Access::read_only, std::byte{1}).ref));
  queue.put(barrier(0, std::byte{2}));
  queue.put(queue.write(0, queue.page(Access::read_only, std::byte{3}).ref));
  queue.push();
  world.pass_events();
  settle();
  world.image->release_all();
  settle();
  EXPECT_EQ(queue.counters->kept.get(), 2U) << "the write and the barrier behind it";
  wait(milliseconds(100));
  using enum ImageOp;
  EXPECT_EQ(world.image->log(), (std::vector{write, write, flush, write, flush, write}));
  EXPECT_EQ(queue.take().size(), 3U);
  EXPECT_EQ(world.image->sectors(0, 1)[0], std::byte{3});
}

TEST_P(FailingStorage, ABarrierThatFailsInTheMiddleIsDoneAgainAsAWhole) {
  connect_with(kPauses);
  world.image->fail_next(IoStatus::okay);
  world.image->fail_next(IoStatus::io_error);
  queue.send(barrier(0, std::byte{5}));
  world.pass_events();
  settle();
  wait(milliseconds(100));
  using enum ImageOp;
  EXPECT_EQ(world.image->log(), (std::vector{flush, write, flush, write, flush}));
  EXPECT_EQ(queue.take().size(), 1U);
  EXPECT_EQ(world.image->sectors(0, 1)[0], std::byte{5});
}

TEST_P(FailingStorage, WhatIsKeptIsDoneInTheOrderInWhichItWasTaken) {
  connect_with(kPauses);
  world.image->hold();
  world.image->fail_changes(IoStatus::io_error);
  for (std::uint8_t i = 1; i <= 3; ++i) {
    queue.put(queue.write(0, queue.page(Access::read_only, std::byte{i}).ref));
  }
  queue.push();
  world.pass_events();
  settle();
  // They fail in another order.
  for (const std::size_t nth : {2U, 0U, 0U}) world.image->release(nth), settle();
  world.image->fail_changes(IoStatus::okay);
  world.image->release_all();
  wait(milliseconds(100));
  EXPECT_EQ(queue.take().size(), 3U);
  EXPECT_EQ(world.image->sectors(0, 1)[0], std::byte{3});
}

TEST_P(FailingStorage, AnIndirectRequestIsDoneAgainAsAWhole) {
  auto setup = queue.setup(world.image);
  setup.storage.policy = kPauses;
  setup.indirect_segments_max = 512;
  world.connect(std::move(setup));
  std::vector<FrontendSegment> data(300, {page.ref});
  world.image->fail_next(IoStatus::okay);
  world.image->fail_next(IoStatus::no_space);
  queue.send(queue.indirect(Op::write, 0, data));
  world.pass_events();
  settle();
  EXPECT_EQ(queue.counters->kept.get(), 1U);
  wait(milliseconds(100));
  EXPECT_EQ(queue.take().size(), 1U);
  EXPECT_EQ(world.image->log().size(), 4U) << "two pieces, twice";
}

TEST_P(FailingStorage, HoldsUpNoOtherQueue) {
  connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(0);
  GuestQueue other(domain, GetParam());
  world.connect(other);
  other.send(other.read(0, page.ref));
  world.pass_events();
  settle();
  EXPECT_EQ(other.take().size(), 1U);
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(100));
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(FailingStorage, APauseIsCompleteWhileRequestsAreKept) {
  const QueueId id = connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(0);
  bool paused = false;
  world.core->pause(id, [&] { paused = true; });
  settle();
  EXPECT_TRUE(paused);
  world.image->fail_changes(IoStatus::okay);
  wait(milliseconds(10'000));
  EXPECT_TRUE(queue.take().empty()) << "a paused disk does nothing";
  world.core->resume(id);
  settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(FailingStorage, ClosingAnswersWhatIsKept) {
  const QueueId id = connect_with(kPauses);
  world.image->fail_changes(IoStatus::no_space);
  send_write(0);
  bool closed = false;
  world.core->disconnect(id, [&] { closed = true; });
  settle();
  EXPECT_TRUE(closed);
  const auto answers = queue.take();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, Status::error);
}

TEST_P(FailingStorage, WhatFailsWhileItClosesIsAnswered) {
  const QueueId id = connect_with(kPauses);
  world.image->hold();
  world.image->fail_changes(IoStatus::io_error);
  send_write(0);
  world.core->disconnect(id, [] {});
  world.image->release_all();
  settle();
  const auto answers = queue.take();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, Status::error);
  EXPECT_TRUE(changes.empty());
}

// The failure first, and the request is put off only after both.
TEST_P(FailingStorage, WhatFailsInTheTurnInWhichItClosesIsAnswered) {
  struct Closing : Task {
    WorkerCore* core;
    QueueId id;
  } closing;
  closing.core = world.core.get();
  closing.id = connect_with(kPauses);
  closing.run = [](Task& task) noexcept {
    const auto& self = static_cast<Closing&>(task);
    self.core->disconnect(self.id, [] {});
  };
  world.image->hold();
  world.image->fail_changes(IoStatus::io_error);
  send_write(0);
  world.image->release_all();
  world.engine.post(closing);
  settle();
  expect_one_error();
  EXPECT_EQ(told(), (std::vector{Change::waits, Change::recovered}));
}

TEST_P(FailingStorage, ClosingAnswersWhatTheDaemonBeforeLeftOpen) {
  const xenblk::test::TempDir directory;
  auto setup = queue.setup(world.image);
  setup.storage.policy = kPauses;
  setup.journal = JournalPlace{.path = directory.path("journal")};
  world.image->fail_changes(IoStatus::io_error);
  const QueueId before = world.connect(setup);
  send_write(0);
  world.core->detach(before, [] {});
  settle();
  EXPECT_TRUE(queue.take().empty());
  setup.journal->take_over = true;
  setup.remote_port = (queue.port = queue.guest->allocate_port(kBackend))->port();
  world.core->disconnect(world.connect(setup), [] {});
  settle();
  expect_one_error();
}

TEST_P(FailingStorage, WithoutAJournalNothingCanBeLeftToTheNextDaemon) {
  const QueueId id = connect_with(kPauses);
  world.image->fail_changes(IoStatus::io_error);
  send_write(0);
  world.core->detach(id, [] {});
  settle();
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST_P(FailingStorage, AFlushOfThePageCacheIsNotRepeated) {
  world.image->set_cached(true);
  connect_with(kPauses);
  world.image->fail_next(IoStatus::io_error);
  EXPECT_EQ(world.status(queue, queue.transfer(Op::flush_diskcache, 0, {})), Status::error);
}

// --- stopped ---
TEST_P(FailingStorage, AStoppedDiskRefusesEverythingUntilItIsResumed) {
  connect_with({.on_error = stop});
  GuestQueue other(domain, GetParam());
  auto setup = other.setup(world.image);
  setup.storage.refuses = refuses;
  world.connect(std::move(setup));
  world.image->fail_next(IoStatus::io_error);
  EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), Status::error);
  EXPECT_EQ(told(), (std::vector{Change::stopped}));
  EXPECT_EQ(world.status(queue, queue.read(0, page.ref)), Status::error);
  EXPECT_EQ(world.status(other, other.read(0, page.ref)), Status::error);
  EXPECT_EQ(world.image->log().size(), 1U) << "the image is left alone";
  EXPECT_EQ((*queue.counters)[Trouble::disk_stopped].get(), 1U);
  *refuses = false;
  EXPECT_EQ(world.status(queue, queue.read(0, page.ref)), Status::okay);
  EXPECT_EQ(world.status(other, other.read(0, page.ref)), Status::okay);
}

TEST_P(FailingStorage, WhatIsKeptWhenTheDiskStopsIsRefused) {
  connect_with({.on_error = stop, .on_no_space = pause});
  world.image->hold();
  world.image->fail_next(IoStatus::no_space);
  world.image->fail_next(IoStatus::io_error);
  queue.put(queue.write(0, page.ref));
  send_write(8);
  world.image->release_all();
  settle();
  EXPECT_EQ(queue.take().size(), 1U);
  wait(milliseconds(100));
  const auto answers = queue.take();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, Status::error);
}

TEST_P(FailingStorage, AGuestThatGoesOnAskingAStoppedDiskWaits) {
  connect_with({.on_error = stop});
  *refuses = true;
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 32; ++i) queue.put(queue.read(0, page.ref));
    queue.push();
    world.pass_events();
    settle();
    if (queue.take().size() < 32) break;
  }
  EXPECT_EQ(queue.counters->throttled.get(), 1U);
}

}  // namespace
}  // namespace xenblk::ringio::test
