// The engine on real files: the rules of xenblk/io.h, for each way the kernel may run completions.
#include "ringio/uring_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include <linux/io_uring.h>

#include "ringio/buffer_pool.h"

namespace xenblk::ringio::test {
namespace {

// A file without a name, and only what an engine needs of it.
class TempFile final : public File {
 public:
  explicit TempFile(int flags = O_RDWR) {
    char path[] = "/tmp/xenblk-engine-XXXXXX";
    const int created = ::mkstemp(path);
    fd_ = ::open(path, flags | O_CLOEXEC);
    ::close(created);
    ::unlink(path);
  }
  ~TempFile() override { ::close(fd_); }
  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override {
    const auto got = ::pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(buffer.size())) return fail(Errc::io, "read");
    return {};
  }
  Expected<void> write_at(std::uint64_t, std::span<const std::byte>) override { return {}; }
  Expected<void> sync_data() override { return {}; }
  Expected<std::uint64_t> size_bytes() override {
    struct stat status = {};
    ::fstat(fd_, &status);
    return static_cast<std::uint64_t>(status.st_size);
  }
  Expected<void> truncate(std::uint64_t) override { return {}; }
  Expected<void> punch_hole(std::uint64_t, std::uint64_t) override { return {}; }
  Expected<std::uint64_t> next_data(std::uint64_t) override { return 0; }
  Expected<std::uint64_t> next_hole(std::uint64_t) override { return 0; }
  bool is_block_device() const override { return false; }
  Access access() const override { return Access::read_write; }
  std::uint32_t alignment_bytes() const override { return 1; }
  int descriptor() const override { return fd_; }

 private:
  int fd_;
};

// The reading end of a pipe gives less than was asked for, piece by piece, as a file never does on
// purpose.
class PipeFile final : public File {
 public:
  explicit PipeFile(int fd) : fd_(fd) {}
  Expected<void> read_at(std::uint64_t, std::span<std::byte>) override { return {}; }
  Expected<void> write_at(std::uint64_t, std::span<const std::byte>) override { return {}; }
  Expected<void> sync_data() override { return {}; }
  Expected<std::uint64_t> size_bytes() override { return 0; }
  Expected<void> truncate(std::uint64_t) override { return {}; }
  Expected<void> punch_hole(std::uint64_t, std::uint64_t) override { return {}; }
  Expected<std::uint64_t> next_data(std::uint64_t) override { return 0; }
  Expected<std::uint64_t> next_hole(std::uint64_t) override { return 0; }
  bool is_block_device() const override { return false; }
  Access access() const override { return Access::read_only; }
  std::uint32_t alignment_bytes() const override { return 1; }
  int descriptor() const override { return fd_; }

 private:
  int fd_;
};

struct Operation : IoOp {
  int times_done = 0;

  Operation(File& where, IoKind what, std::uint64_t at, std::span<std::byte> memory) {
    kind = what;
    file = &where;
    offset = at;
    buffer = memory.data();
    bytes = memory.size();
    done = [](IoOp& op) noexcept { ++static_cast<Operation&>(op).times_done; };
  }
};

class Engine : public testing::TestWithParam<UringFlavour> {
 protected:
  void SetUp() override { make({}); }
  void make(UringOptions options) {
    options.flavour = GetParam();
    auto made = UringEngine::make(options);
    ASSERT_TRUE(made.has_value()) << describe(made.error());
    engine = std::move(*made);
  }
  std::int64_t run(Operation& operation) {
    engine->submit(operation);
    EXPECT_EQ(operation.times_done, 0) << "done inside submit";
    while (operation.times_done == 0) engine->turn(LoopEngine::kForever);
    return operation.result;
  }

  TempFile file;
  std::unique_ptr<UringEngine> engine;
};

INSTANTIATE_TEST_SUITE_P(Flavours, Engine,
                         testing::Values(UringFlavour::deferred, UringFlavour::cooperative,
                                         UringFlavour::plain),
                         [](const auto& tested) -> std::string {
                           switch (tested.param) {
                             case UringFlavour::deferred:
                               return "deferred";
                             case UringFlavour::cooperative:
                               return "cooperative";
                             case UringFlavour::plain:
                               return "plain";
                           }
                           return "";
                         });

TEST_P(Engine, IsOfTheFlavourThatWasAskedFor) {
  EXPECT_EQ(engine->flavour(), GetParam());
}

TEST_P(Engine, ReadsWhatItWrote) {
  std::vector<std::byte> out(8192, std::byte{0x5a});
  std::vector<std::byte> in(8192);
  Operation write(file, IoKind::write, 4096, out);
  Operation read(file, IoKind::read, 4096, in);
  EXPECT_EQ(run(write), 8192);
  EXPECT_EQ(run(read), 8192);
  EXPECT_EQ(in, out);
  EXPECT_EQ(engine->unfinished(), 0U);
}

TEST_P(Engine, UsesRegisteredMemoryLikeAnyOther) {
  engine.reset();
  const Arena arena = *Arena::make(1 << 20);
  make({.fixed_memory = arena.memory()});
  EXPECT_TRUE(engine->has_fixed_memory());
  const auto out = arena.memory().subspan(4096, 4096);
  const auto in = arena.memory().last(4096);
  std::ranges::fill(out, std::byte{0x77});
  Operation write(file, IoKind::write, 0, out);
  Operation read(file, IoKind::read, 0, in);
  EXPECT_EQ(run(write), 4096);
  EXPECT_EQ(run(read), 4096);
  EXPECT_TRUE(std::ranges::equal(in, out));
  engine.reset();
}

// The only ring that is open in this process.
int ring_descriptor() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const auto target = std::filesystem::read_symlink(entry.path(), ignored);
    if (target == "anon_inode:[io_uring]") return std::stoi(entry.path().filename());
  }
  return -1;
}

// An eventfd is the first thing that an attacker would not need, and the kernel takes it from
// anyone.
int register_event(int ring) {
  int event = ::eventfd(0, EFD_CLOEXEC);
  const auto result = ::syscall(__NR_io_uring_register, ring, IORING_REGISTER_EVENTFD, &event, 1);
  const int error = result < 0 ? errno : 0;
  ::close(event);
  return error;
}

TEST_P(Engine, LetsNothingMoreBeRegistered) {
  EXPECT_EQ(register_event(ring_descriptor()), EACCES);
}

TEST_P(Engine, IsNotRestrictedForThoseWhoDoNotWantThat) {
  engine.reset();
  make({.restricted = false});
  EXPECT_EQ(register_event(ring_descriptor()), 0);
}

TEST_P(Engine, ReadsShortAtTheEndOfTheFile) {
  std::vector<std::byte> data(5000, std::byte{1});
  Operation write(file, IoKind::write, 0, data);
  EXPECT_EQ(run(write), 5000);
  std::vector<std::byte> in(8192);
  Operation at_end(file, IoKind::read, 4096, in);
  EXPECT_EQ(run(at_end), 904);
  Operation beyond(file, IoKind::read, 8192, in);
  EXPECT_EQ(run(beyond), 0);
}

TEST_P(Engine, ContinuesATransferThatCameUpShort) {
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  PipeFile pipe(ends[0]);
  std::vector<std::byte> in(300);
  Operation read(pipe, IoKind::read, 0, in);
  engine->submit(read);
  for (std::uint8_t part = 1; part <= 3; ++part) {
    const std::vector<std::uint8_t> piece(100, part);
    ASSERT_EQ(::write(ends[1], piece.data(), piece.size()), 100);
    while (read.result < 100 * part) engine->turn(LoopEngine::kForever);
  }
  EXPECT_EQ(read.times_done, 1);
  EXPECT_EQ(read.result, 300);
  EXPECT_EQ(in.front(), std::byte{1});
  EXPECT_EQ(in.back(), std::byte{3});
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_P(Engine, ReportsTheErrorOfTheSystem) {
  TempFile read_only(O_RDONLY);
  std::vector<std::byte> data(512);
  Operation write(read_only, IoKind::write, 0, data);
  EXPECT_EQ(run(write), -EBADF);
}

TEST_P(Engine, SyncsAndPunchesHoles) {
  std::vector<std::byte> data(8192, std::byte{9});
  Operation write(file, IoKind::write, 0, data);
  Operation sync(file, IoKind::sync_data, 0, {});
  Operation punch(file, IoKind::punch_hole, 0, std::span(data).first(4096));
  EXPECT_EQ(run(write), 8192);
  EXPECT_EQ(run(sync), 0);
  EXPECT_EQ(run(punch), 4096);
  std::vector<std::byte> in(8192);
  ASSERT_TRUE(file.read_at(0, in).has_value());
  EXPECT_EQ(in.front(), std::byte{0});
  EXPECT_EQ(in.back(), std::byte{9});
}

TEST_P(Engine, CompletesEachOfManyMoreThanTheQueueHolds) {
  engine.reset();
  make({.submission_entries = 4});
  constexpr int kCount = 2000;
  std::vector<std::byte> data(512, std::byte{3});
  std::vector<Operation> operations;
  operations.reserve(kCount);
  for (int i = 0; i < kCount; ++i) {
    operations.emplace_back(file, IoKind::write, std::uint64_t{512} * static_cast<unsigned>(i),
                            data);
  }
  for (auto& operation : operations) engine->submit(operation);
  while (engine->unfinished() != 0) engine->turn(LoopEngine::kForever);
  for (const auto& operation : operations) {
    ASSERT_EQ(operation.times_done, 1);
    ASSERT_EQ(operation.result, 512);
  }
  EXPECT_EQ(*file.size_bytes(), 512U * kCount);
}

struct CountingTask : Task {
  std::thread::id ran_on;
  int runs = 0;
  CountingTask() {
    run = [](Task& task) noexcept {
      auto& self = static_cast<CountingTask&>(task);
      ++self.runs;
      self.ran_on = std::this_thread::get_id();
    };
  }
};

TEST_P(Engine, RunsATaskOfItsOwnThreadInTheNextTurn) {
  CountingTask task;
  engine->post(task);
  EXPECT_EQ(task.runs, 0);
  engine->turn(LoopEngine::kForever);
  EXPECT_EQ(task.runs, 1);
}

TEST_P(Engine, RunsTasksOfOtherThreadsOnItsOwn) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kTasks = 500;
  std::vector<CountingTask> tasks(kThreads * kTasks);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kTasks; ++i) engine->post(tasks[t * kTasks + i]);
    });
  }
  const auto all_ran = [&] {
    return std::ranges::all_of(tasks, [](auto& t) { return t.runs == 1; });
  };
  // Sleeps in between: a wake-up that is lost would hang here.
  while (!all_ran()) engine->turn(LoopEngine::kForever);
  for (auto& thread : threads) thread.join();
  for (const auto& task : tasks) ASSERT_EQ(task.ran_on, std::this_thread::get_id());
  // A wake-up that is still under way must find nothing.
  engine->turn(LoopEngine::kNoWait);
}

TEST_P(Engine, ReturnsWhenItsPatienceEnds) {
  engine->turn(LoopEngine::kNoWait);
  engine->turn(std::chrono::milliseconds(1));
  EXPECT_EQ(engine->unfinished(), 0U);
}

struct DrainingWatch : Watch {
  int calls = 0;
  explicit DrainingWatch(int fd) {
    descriptor = fd;
    ready = [](Watch& watch) noexcept {
      auto& self = static_cast<DrainingWatch&>(watch);
      ++self.calls;
      eventfd_t count = 0;
      (void)::eventfd_read(self.descriptor, &count);
    };
  }
};

TEST_P(Engine, TellsAgainAndAgainThatADescriptorIsReadable) {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  DrainingWatch watch(fd);
  engine->watch(watch);
  engine->turn(LoopEngine::kNoWait);
  for (int i = 1; i <= 10; ++i) {
    ::eventfd_write(fd, 1);
    while (watch.calls < i) engine->turn(LoopEngine::kForever);
    EXPECT_EQ(watch.calls, i);
  }
  engine.reset();
  ::close(fd);
}

// Entries of the submission queue still hold what earlier operations said.
TEST_P(Engine, EndsAfterManyOperationsWhileItReads) {
  std::vector<std::byte> data(512);
  for (std::uint32_t i = 0; i < 2 * UringOptions{}.submission_entries; ++i) {
    Operation write(file, IoKind::write, 0, data);
    ASSERT_EQ(run(write), 512);
  }
  const int never_readable = ::eventfd(0, EFD_CLOEXEC);
  StreamRead read = {.descriptor = never_readable,
                     .buffer = std::span(data).first(8),
                     .done = [](StreamRead&, std::size_t) noexcept {}};
  engine->read(read);
  engine->turn(LoopEngine::kNoWait);
  engine.reset();
  ::close(never_readable);
}

}  // namespace
}  // namespace xenblk::ringio::test
