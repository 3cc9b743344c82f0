// A worker's loop, a loopback Xen and an image in memory, all on the test's thread: nothing happens
// unless the test lets it.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "ringio/buffer_pool.h"
#include "ringio/worker_core.h"
#include "tests/ringio/guest_queue.h"
#include "tests/ringio/memory_image.h"
#include "tests/ringio/slot_bytes.h"

namespace xenblk::ringio::test {

class VirtualClock final : public Clock {
 public:
  Instant now() const noexcept override { return now_; }
  void advance(std::chrono::nanoseconds time) {
    now_.ns += static_cast<std::uint64_t>(time.count());
  }

 private:
  Instant now_{1'000'000'000};
};

// An engine without files: it only runs tasks. A turn without any takes a microsecond, or as long
// as it may when that has an end.
class TaskEngine final : public LoopEngine {
 public:
  explicit TaskEngine(VirtualClock& clock) : clock_(clock) {}

  void submit(IoOp&) noexcept override { assert(false && "this engine has no files"); }
  void post(Task& task) noexcept override { tasks_.push_back(task); }
  void turn(std::chrono::nanoseconds patience) noexcept override {
    last_patience = patience;
    TaskList now;
    now.swap(tasks_);
    last_turn_ran = !now.empty();
    if (!last_turn_ran && patience != kForever) {
      clock_.advance(std::max(patience, std::chrono::nanoseconds(1000)));
    }
    while (!now.empty()) {
      Task& task = now.front();
      now.pop_front();
      task.run(task);
    }
  }
  bool idle() const { return tasks_.empty() && !last_turn_ran; }
  bool last_turn_ran = false;
  std::chrono::nanoseconds last_patience = kNoWait;

 private:
  VirtualClock& clock_;
  TaskList tasks_;
};

struct CoreOptions {
  std::uint32_t request_slots = 512;
  std::size_t arena_bytes = std::size_t{4} << 20;
  PollingOptions polling = {};
};

class CoreWorld {
 public:
  explicit CoreWorld(CoreOptions options = {}) : arena(*Arena::make(options.arena_bytes)) {
    core = std::make_unique<WorkerCore>(WorkerParts{.engine = engine,
                                                    .channels = *channels,
                                                    .grants = *grants,
                                                    .clock = clock,
                                                    .arena = arena.memory(),
                                                    .request_slots = options.request_slots,
                                                    .polling = options.polling});
  }
  ~CoreWorld() {
    image->release_all();
    settle();
    for (const QueueId id : connected) core->disconnect(id, [] {});
    settle();
    EXPECT_EQ(core->counters().queues.get(), 0U);
    EXPECT_EQ(core->counters().slots_in_use.get(), 0U);
    EXPECT_TRUE(xen.usage().nothing_held());
  }

  QueueId connect(GuestQueue& queue) { return connect(queue.setup(image)); }
  QueueId connect(QueueSetup setup) {
    auto id = core->connect(std::move(setup));
    EXPECT_TRUE(id.has_value()) << describe(id.error());
    connected.push_back(*id);
    return *id;
  }
  // One pass, as the thread would do it.
  void pass() {
    pass_events();
    core->pass(LoopEngine::kForever);
  }
  // Tells the loop of events, without a pass.
  void pass_events() {
    pollfd events = {channels->fd(), POLLIN, 0};
    if (::poll(&events, 1, 0) == 1) core->events_signalled();
  }
  // Passes until the loop would sleep and nothing would wake it.
  void settle() {
    for (int calm = 0; calm < 2;) {
      pass();
      pollfd events = {channels->fd(), POLLIN, 0};
      const bool quiet = engine.idle() && engine.last_patience == LoopEngine::kForever &&
                         ::poll(&events, 1, 0) == 0;
      calm = quiet ? calm + 1 : 0;
    }
  }
  // Sends one request and gives its answer.
  RingResponse ask(GuestQueue& queue, const FrontendRequest& request) {
    queue.send(request);
    settle();
    const auto responses = queue.take();
    EXPECT_EQ(responses.size(), 1U);
    if (responses.size() != 1) return {};
    EXPECT_EQ(responses[0].id, request.id);
    return responses[0];
  }
  blkif::Status status(GuestQueue& queue, const FrontendRequest& request) {
    return ask(queue, request).status;
  }

  loopback::LoopbackXen xen;
  std::unique_ptr<EventChannels> channels = *xen.host().open_event_channels();
  std::unique_ptr<GrantTable> grants = *xen.host().open_grant_table();
  VirtualClock clock;
  TaskEngine engine{clock};
  Arena arena;
  std::shared_ptr<MemoryImage> image = std::make_shared<MemoryImage>(SectorCount{4096});
  std::unique_ptr<WorkerCore> core;
  std::vector<QueueId> connected;
};

// One guest with one connected queue, for each layout.
class OneQueue : public testing::TestWithParam<blkif::Layout> {
 protected:
  CoreWorld world;
  std::shared_ptr<loopback::GuestDomain> domain = world.xen.create_domain({7});
  GuestQueue queue{domain, GetParam()};
  GuestPage page = queue.page();
  std::vector<QueueNotice> notices;

  QueueId connect() {
    auto setup = queue.setup(world.image);
    setup.notice = [this](const QueueNotice& notice) { notices.push_back(notice); };
    return world.connect(std::move(setup));
  }
  void expect_alive() {
    EXPECT_EQ(world.status(queue, queue.read(0, page.ref)), blkif::Status::okay);
  }
};

#define XENBLK_FOR_ALL_LAYOUTS(suite)                                                       \
  INSTANTIATE_TEST_SUITE_P(                                                                 \
      Layouts, suite,                                                                       \
      testing::Values(blkif::Layout::native, blkif::Layout::x86_32, blkif::Layout::x86_64), \
      [](const auto& tested) { return layout_name(tested.param); })

}  // namespace xenblk::ringio::test
