// The worker as the control plane sees it: a thread of its own, the real engine, and guests that
// live on other threads. No test sleeps: waiting is for events.
#include "ringio/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <random>
#include <thread>
#include <tuple>

#include "tests/ringio/guest_queue.h"
#include "tests/ringio/memory_image.h"
#include "tests/ringio/slot_bytes.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

// Long enough for any machine; a test that needs it has failed.
constexpr std::uint32_t kTooLongMs = 60'000;

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void TearDown() override {
    worker.reset();
    EXPECT_TRUE(xen.usage().nothing_held());
  }
  void start(WorkerOptions options) {
    auto started = Worker::start(xen.host(), std::move(options));
    ASSERT_TRUE(started.has_value()) << describe(started.error());
    worker = std::move(*started);
  }
  Expected<QueueId> try_connect(QueueSetup setup) {
    std::promise<Expected<QueueId>> promise;
    worker->connect(std::move(setup), [&](Expected<QueueId> id) { promise.set_value(id); });
    return promise.get_future().get();
  }
  QueueId connect(const GuestQueue& queue) {
    const auto id = try_connect(queue.setup(image));
    EXPECT_TRUE(id.has_value()) << describe(id.error());
    return *id;
  }
  void disconnect(QueueId id) {
    std::promise<void> promise;
    worker->disconnect(id, [&] { promise.set_value(); });
    promise.get_future().get();
  }
  // Waits for as many responses; what came before counts too.
  static std::vector<RingResponse> await(GuestQueue& queue, std::size_t count) {
    std::vector<RingResponse> responses;
    while (true) {
      for (const auto& response : queue.take()) responses.push_back(response);
      if (responses.size() >= count) return responses;
      if (!queue.port->wait(kTooLongMs)) {
        ADD_FAILURE() << "only " << responses.size() << " of " << count << " responses";
        return responses;
      }
    }
  }

  loopback::LoopbackXen xen;
  std::shared_ptr<MemoryImage> image = std::make_shared<MemoryImage>(SectorCount{4096});
  std::shared_ptr<loopback::GuestDomain> domain = xen.create_domain({7});
  std::unique_ptr<Worker> worker;
};

TEST_F(WorkerTest, ServesAQueue) {
  GuestQueue queue(domain, Layout::x86_64);
  const auto page = queue.page(Access::read_write, std::byte{0x12});
  const QueueId id = connect(queue);
  queue.send(queue.write(0, page.ref));
  EXPECT_EQ(await(queue, 1)[0].status, Status::okay);
  // Only then: that an answer in the guest's memory comes after the write is nothing that
  // ThreadSanitizer can see, as both ends have their own mapping of it.
  disconnect(id);
  EXPECT_EQ(image->sectors(0, 1)[0], std::byte{0x12});
}

TEST_F(WorkerTest, ReportsWhyAQueueCannotBeConnected) {
  GuestQueue queue(domain, Layout::x86_64);
  auto setup = queue.setup(image);
  setup.ring_refs = {{31000}};
  EXPECT_EQ(try_connect(setup).error().code, Errc::bad_grant);
}

TEST_F(WorkerTest, RunsEveryCallbackOnItsOwnThread) {
  GuestQueue queue(domain, Layout::x86_64);
  std::vector<std::thread::id> threads;
  std::promise<void> gone;
  worker->connect(queue.setup(image), [&](const Expected<QueueId>& id) {
    threads.push_back(std::this_thread::get_id());
    // From the worker's own thread too.
    worker->disconnect(*id, [&] {
      threads.push_back(std::this_thread::get_id());
      gone.set_value();
    });
  });
  gone.get_future().get();
  ASSERT_EQ(threads.size(), 2U);
  EXPECT_EQ(threads[0], threads[1]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

TEST_F(WorkerTest, SaysWhenItCannotBePinned) {
  const auto started = Worker::start(xen.host(), {.cpu = 1000});
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code, Errc::io);
}

TEST_F(WorkerTest, ClosesWithRequestsInFlight) {
  GuestQueue queue(domain, Layout::x86_32);
  const auto page = queue.page();
  const QueueId id = connect(queue);
  image->hold();
  for (int i = 0; i < 16; ++i) queue.put(queue.read(0, page.ref));
  queue.push();
  std::promise<void> gone;
  worker->disconnect(id, [&] { gone.set_value(); });
  image->release_all();
  gone.get_future().get();
  // All that was taken was answered; the rest stays in the ring.
  queue.take();
  EXPECT_EQ(queue.counters->in_flight.get(), 0U);
}

// Statistics may be read at any time, also while a queue goes away and after it has gone.
TEST_F(WorkerTest, CountersCanBeReadWhileQueuesComeAndGo) {
  GuestQueue queue(domain, Layout::x86_64);
  const auto page = queue.page();
  std::atomic<bool> stop = false;
  std::thread reader([&, counters = queue.counters] {
    std::uint64_t last = 0;
    while (!stop) {
      const auto reads = counters->reads.get();
      EXPECT_GE(reads, last);
      last = reads;
      EXPECT_LE(counters->in_flight.get(), 32U);
      EXPECT_LE(worker->counters().queues.get(), 1U);
    }
  });
  for (int i = 0; i < 100; ++i) {
    const QueueId id = connect(queue);
    queue.send(queue.read(0, page.ref));
    await(queue, 1);
    disconnect(id);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(queue.counters->reads.get(), 100U);
}

TEST_F(WorkerTest, SurvivesAGuestThatConnectsAndClosesAsFastAsItCan) {
  GuestQueue queue(domain, Layout::x86_64);
  const auto page = queue.page();
  std::atomic<int> closed = 0;
  for (int i = 0; i < 300; ++i) {
    for (int n = 0; n < 4 && queue.ring.room() != 0; ++n) queue.put(queue.write(0, page.ref));
    queue.ring.publish();
    worker->connect(queue.setup(image), [&](const Expected<QueueId>& id) {
      ASSERT_TRUE(id.has_value()) << describe(id.error());
      worker->disconnect(*id, [&] { ++closed; });
    });
    // The next one may bind the port only when this one has freed it.
    while (closed <= i) std::this_thread::yield();
    queue.take();
  }
}

// A guest that rewrites slots that it has published: whatever the worker saw, it saw once. With a
// double fetch a checked value could differ from the used one, and an address sanitizer would see
// where it went.
class Mutator : public WorkerTest, public testing::WithParamInterface<Layout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, Mutator,
                         testing::Values(Layout::native, Layout::x86_32, Layout::x86_64),
                         [](const auto& tested) { return layout_name(tested.param); });

TEST_P(Mutator, SlotsThatChangeWhileTheyAreReadDoNoHarm) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  GuestQueue queue(domain, GetParam());
  const auto page = queue.page();
  const std::array good = {
      build(GetParam(),
            {.operation = 0, .nr_segments = 2, .segments = {{page.ref.n}, {page.ref.n}}}),
      build(GetParam(),
            {.operation = 1, .nr_segments = 1, .sector = 8, .segments = {{page.ref.n}}})};
  const QueueId id = connect(queue);
  const std::size_t words = slot_bytes(GetParam()) / sizeof(std::uint32_t);
  std::atomic<bool> stop = false;
  std::thread mutator([&] {
    std::mt19937 random(seed);
    std::byte* const slots = queue.ring.memory().data() + blkif::RingOffsets::slots;
    while (!stop) {
      const std::size_t word = random() % (32 * words);
      auto* const place = reinterpret_cast<std::uint32_t*>(slots) + word;
      // Mostly what makes a good request; references never hit the ring's own page by chance.
      const auto value = static_cast<std::uint32_t>(random());
      const std::uint32_t right = good[value % 2].words[word % words];
      std::atomic_ref(*place).store(value % 8 != 0 ? right : value | 0xff00);
    }
  });
  // A ring of its own bookkeeping: FrontendRing would rightly complain about what we do to it.
  const auto load = [&](std::size_t offset) { return queue.ring.load_index(offset); };
  std::uint32_t produced = 0;
  for (int round = 0; round < 600; ++round) {
    queue.ring.store_index(blkif::RingOffsets::rsp_event, produced + 1);
    produced += 1 + static_cast<std::uint32_t>(round) % 32;
    queue.ring.store_index(blkif::RingOffsets::rsp_event, produced);
    queue.ring.store_index(blkif::RingOffsets::req_prod, produced);
    queue.port->notify();
    while (load(blkif::RingOffsets::rsp_prod) != produced) {
      ASSERT_TRUE(queue.port->wait(kTooLongMs));
    }
  }
  stop = true;
  mutator.join();
  disconnect(id);
  EXPECT_EQ(queue.counters->ring_stopped.get(), 0U);
  EXPECT_EQ(queue.counters->in_flight.get(), 0U);
  EXPECT_GT(queue.counters->reads.get() + queue.counters->writes.get(), 0U)
      << "too hostile to matter";
}

// One guest and one worker that wake each other, or find each other awake, at every possible
// moment: a wake-up that is lost on either side would be waited for in vain.
class WakeUps : public WorkerTest,
                public testing::WithParamInterface<std::tuple<Layout, std::chrono::microseconds>> {
};
INSTANTIATE_TEST_SUITE_P(
    Layouts, WakeUps,
    testing::Combine(testing::Values(Layout::native, Layout::x86_32, Layout::x86_64),
                     testing::Values(std::chrono::microseconds(0), std::chrono::microseconds(5),
                                     std::chrono::microseconds(100))));

TEST_P(WakeUps, AreNeverLost) {
  const auto [layout, window] = GetParam();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  worker.reset();
  start({.polling = {.window = window, .budget_percent = 100}});
  GuestQueue queue(domain, layout);
  const auto page = queue.page();
  const QueueId id = connect(queue);
  for (int round = 0; round < 1000; ++round) {
    const std::size_t requests = 1 + random() % 3;
    for (std::size_t i = 0; i < requests; ++i) queue.put(queue.read(0, page.ref));
    queue.push();
    ASSERT_EQ(await(queue, requests).size(), requests) << "in round " << round;
    // Now and then long enough for the worker to be about to sleep, or to have just slept.
    for (auto spin = random() % 4096; spin != 0; --spin) {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  disconnect(id);
}

// --- valid load, random, against a model ---

// One guest thread with one queue and a part of the disk of its own, so that what it reads back is
// known.
class Client {
 public:
  Client(std::shared_ptr<loopback::GuestDomain> domain, Layout layout, std::uint32_t ring_pages,
         std::uint64_t base, std::uint32_t seed)
      : queue(std::move(domain), layout, ring_pages), base_(base), random_(seed) {
    for (int i = 0; i < 24; ++i) pages_.push_back(queue.page());
  }

  GuestQueue queue;

  void run(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const std::size_t requests = 1 + random_() % queue.ring.entries();
      for (std::size_t i = 0; i < requests; ++i) put_one();
      queue.push();
      await_all();
    }
  }

 private:
  static constexpr std::uint64_t kSectors = 512;
  struct Pending {
    bool is_read = false;
    std::uint64_t sector = 0;
    std::vector<FrontendSegment> segments;
    std::vector<GuestPage> pages;
  };

  // Requests in flight at once touch neither the same sectors nor the same page.
  void put_one() {
    const auto op = static_cast<Op>(random_() % 4);
    const std::size_t segments = op == Op::flush_diskcache ? random_() % 2 : 1 + random_() % 3;
    Pending pending{op == Op::read, next_sector_, {}, {}};
    std::uint64_t sectors = 0;
    for (std::size_t i = 0; i < segments; ++i) {
      if (free_pages_ == pages_.size()) break;
      const auto first = static_cast<std::uint8_t>(random_() % 8);
      const auto last = static_cast<std::uint8_t>(first + random_() % (8U - first));
      const GuestPage& page = pages_[free_pages_++];
      for (auto& byte : page.memory) byte = static_cast<std::byte>(random_());
      pending.segments.push_back({page.ref, first, last});
      pending.pages.push_back(page);
      sectors += last - first + 1U;
    }
    const bool must_have_data = op == Op::read || op == Op::write;
    if (next_sector_ + sectors > kSectors || (must_have_data && pending.segments.empty())) return;
    next_sector_ += sectors;
    const auto id = queue.put(queue.transfer(op, base_ + pending.sector, pending.segments));
    if (op != Op::read) remember(pending);
    pending_[id] = pending;
  }

  void await_all() {
    while (!pending_.empty()) {
      for (const auto& response : queue.take()) check(response);
      if (pending_.empty()) break;
      ASSERT_TRUE(queue.port->wait(kTooLongMs));
    }
    free_pages_ = 0;
    next_sector_ = random_() % 256;
  }

  void check(const RingResponse& response) {
    ASSERT_EQ(response.status, Status::okay);
    const auto found = pending_.find(response.id);
    ASSERT_NE(found, pending_.end());
    if (found->second.is_read) {
      each_sector(found->second, [&](std::uint64_t sector, std::span<std::byte> memory) {
        ASSERT_TRUE(std::ranges::equal(memory, model(sector))) << "sector " << sector;
      });
    }
    pending_.erase(found);
  }
  void remember(const Pending& pending) {
    each_sector(pending, [&](std::uint64_t sector, std::span<std::byte> memory) {
      std::ranges::copy(memory, model(sector).begin());
    });
  }
  template <class Action>
  void each_sector(const Pending& pending, Action action) {
    std::uint64_t sector = pending.sector;
    for (std::size_t i = 0; i < pending.segments.size(); ++i) {
      const auto& segment = pending.segments[i];
      for (std::size_t s = segment.first_sector; s <= segment.last_sector; ++s) {
        action(sector++, pending.pages[i].memory.subspan(s * kSectorBytes, kSectorBytes));
      }
    }
  }
  std::span<std::byte> model(std::uint64_t sector) {
    return std::span(model_).subspan(sector * kSectorBytes, kSectorBytes);
  }

  std::uint64_t base_;
  std::mt19937 random_;
  std::vector<GuestPage> pages_;
  std::size_t free_pages_ = 0;
  std::uint64_t next_sector_ = 0;
  std::vector<std::byte> model_ = std::vector<std::byte>(kSectors * kSectorBytes);
  std::map<std::uint64_t, Pending> pending_;
};

TEST_F(WorkerTest, ManyQueuesOfManyGuestsReadBackWhatTheyWrote) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  worker.reset();
  // Few slots and little memory, so that queues have to wait for each other.
  start({.request_slots = 24, .arena_bytes = 1U << 20});
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<QueueId> ids;
  for (std::uint32_t i = 0; i < 8; ++i) {
    auto guest = i < 4 ? domain : i < 6 ? xen.find_domain({8}) : nullptr;
    if (guest == nullptr)
      guest = xen.create_domain({static_cast<std::uint16_t>(i < 6 ? 8 : 10 + i)});
    const Layout layout = i % 2 == 0 ? Layout::x86_64 : Layout::x86_32;
    clients.push_back(
        std::make_unique<Client>(std::move(guest), layout, 1U << (i % 4), i * 512, seed + i));
    ids.push_back(connect(clients.back()->queue));
  }
  std::vector<std::thread> threads;
  for (auto& client : clients) threads.emplace_back([&] { client->run(60); });
  for (auto& thread : threads) thread.join();
  for (const QueueId id : ids) disconnect(id);
  for (auto& client : clients) {
    for (const auto& trouble : client->queue.counters->troubles) EXPECT_EQ(trouble.get(), 0U);
  }
}

}  // namespace
}  // namespace xenblk::ringio::test
