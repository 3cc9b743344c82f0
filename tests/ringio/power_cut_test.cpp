// What flushes and barriers promise when the power goes: two workers, three rings of one disk, and
// a disk that is simulated. At any moment, and whatever part of the unfinished writes it kept, what
// a flush or a barrier covered must be there, and nothing of a ring from behind a barrier may be
// there without everything from before it.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <random>

#include "tests/ringio/core_world.h"
#include "tests/vhd/sim_disk.h"
#include "vhd/flat_image.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;
using xenblk::test::Remains;
using xenblk::test::SimContent;
using xenblk::test::SimContents;
using xenblk::test::SimDisk;
using xenblk::test::SimEngine;
using xenblk::test::SimFile;

constexpr std::uint64_t kSectorsEach = 12;
constexpr std::size_t kRings = 3;

// One step of the simulated disk a turn.
class SimLoop final : public LoopEngine {
 public:
  explicit SimLoop(SimDisk& disk) : engine_(disk) {}
  void submit(IoOp& op) noexcept override { engine_.submit(op); }
  void post(Task& task) noexcept override { engine_.post(task); }
  void turn(std::chrono::nanoseconds) noexcept override { did_something = engine_.poll(); }
  bool did_something = false;

 private:
  SimEngine engine_;
};

class SimWorker {
 public:
  SimWorker(loopback::LoopbackXen& xen, SimDisk& disk)
      : channels_(*xen.host().open_event_channels()),
        grants_(*xen.host().open_grant_table()),
        engine_(disk),
        arena_(*Arena::make(std::size_t{1} << 20)),
        core({.engine = engine_,
              .channels = *channels_,
              .grants = *grants_,
              .clock = clock_,
              .arena = arena_.memory()}) {}
  bool pass() {
    core.events_signalled();
    core.pass(LoopEngine::kForever);
    return engine_.did_something;
  }

 private:
  std::unique_ptr<EventChannels> channels_;
  std::unique_ptr<GrantTable> grants_;
  VirtualClock clock_;
  SimLoop engine_;
  Arena arena_;

 public:
  WorkerCore core;
};

using Versions = std::map<std::uint64_t, std::uint64_t>;  // of sectors

// A guest's ring and the sectors that only it writes: the nth write of a sector says n.
struct Ring {
  Ring(std::shared_ptr<loopback::GuestDomain> domain, blkif::Layout layout, std::uint64_t first)
      : queue(std::move(domain), layout), first_sector(first) {
    for (std::uint64_t i = 0; i < kSectorsEach; ++i) pages.push_back(queue.page());
  }
  struct Pending {
    Op op = Op::write;
    std::uint64_t sector = 0, version = 0;
    bool has_data = false;
    Versions promised;  // what is durable once this has been answered
  };
  struct Sent {
    std::uint64_t sector, version, epoch;
  };

  GuestQueue queue;
  std::uint64_t first_sector;
  std::vector<GuestPage> pages;
  std::map<std::uint64_t, Pending> pending;
  std::map<std::uint64_t, bool> busy;
  Versions last;           // sent
  std::vector<Sent> sent;  // in order, with the number of barriers before it
  std::uint64_t epoch = 0;
};

class PowerCut : public testing::TestWithParam<blkif::Layout> {
 protected:
  void start(std::uint64_t seed) {
    SimContents contents(1);
    contents[0].resize(kRings * kSectorsEach * kSectorBytes);
    disk = std::make_unique<SimDisk>(seed, std::move(contents));
    image = std::shared_ptr<Image>(
        *vhd::open_raw_image(std::make_unique<SimFile>(*disk, Access::read_write), 512));
    for (int i = 0; i < 2; ++i) workers.push_back(std::make_unique<SimWorker>(xen, *disk));
    for (std::size_t i = 0; i < kRings; ++i) {
      rings.push_back(std::make_unique<Ring>(domain, GetParam(), i * kSectorsEach));
      auto& worker = *workers[i % workers.size()];
      ids.push_back(*worker.core.connect(rings[i]->queue.setup(image)));
    }
  }
  void TearDown() override {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      workers[i % workers.size()]->core.disconnect(ids[i], [] {});
    }
    drain();
  }
  std::uint64_t random(std::uint64_t n) { return disk->random()() % n; }
  void drain() {
    for (int idle = 0; idle < 20;) {
      bool busy = false;
      for (auto& worker : workers) busy = worker->pass() || busy;
      idle = busy ? 0 : idle + 1;
    }
  }

  void step() {
    Ring& ring = *rings[random(rings.size())];
    if (random(3) == 0 && ring.queue.ring.room() != 0) send(ring);
    workers[random(workers.size())]->pass();
    if (random(4) == 0) take(ring);
    if (random(8) == 0) cut_power();
  }

  void send(Ring& ring) {
    const auto dice = random(16);
    const auto op = dice == 0 ? Op::flush_diskcache : dice < 3 ? Op::write_barrier : Op::write;
    const bool has_data = op == Op::write || random(2) == 0;
    const auto sector = ring.first_sector + random(kSectorsEach);
    if (has_data && ring.busy[sector]) return;
    Ring::Pending pending{.op = op, .sector = sector, .has_data = has_data, .promised = answered};
    if (op == Op::write_barrier) {
      ++ring.epoch;
      // Drains its ring first: what was sent before it is covered, answered or not.
      for (const auto& sent : ring.sent) raise(pending.promised, sent.sector, sent.version);
    }
    if (has_data) pending.version = fill(ring, sector);
    if (op == Op::write_barrier) {
      if (has_data) raise(pending.promised, sector, pending.version);
      ++ring.epoch;
    }
    std::vector<FrontendSegment> data;
    if (has_data) data.push_back({ring.pages[sector - ring.first_sector].ref, 0, 0});
    ring.pending[ring.queue.send(ring.queue.transfer(op, sector, data))] = pending;
  }
  std::uint64_t fill(Ring& ring, std::uint64_t sector) {
    const auto version = ++ring.last[sector];
    std::memcpy(ring.pages[sector - ring.first_sector].memory.data(), &version, sizeof version);
    ring.busy[sector] = true;
    ring.sent.push_back({sector, version, ring.epoch});
    return version;
  }
  void take(Ring& ring) {
    for (const auto& response : ring.queue.take()) {
      ASSERT_EQ(response.status, Status::okay);
      auto node = ring.pending.extract(response.id);
      const auto& pending = node.mapped();
      if (pending.has_data) {
        ring.busy[pending.sector] = false;
        raise(answered, pending.sector, pending.version);
      }
      if (pending.op == Op::write) continue;
      for (const auto& [sector, version] : pending.promised) raise(durable, sector, version);
    }
  }
  static void raise(Versions& versions, std::uint64_t sector, std::uint64_t version) {
    versions[sector] = std::max(versions[sector], version);
  }

  void cut_power() {
    constexpr std::array kRemains = {Remains::nothing, Remains::everything, Remains::all_but_one,
                                     Remains::one_alone, Remains::any};
    check(disk->power_cut(kRemains[random(kRemains.size())])[0]);
    disk->crash_over();
  }
  void check(const SimContent& content) {
    const auto version_of = [&](std::uint64_t sector) {
      std::uint64_t version = 0;
      content.read(sector * kSectorBytes, std::as_writable_bytes(std::span(&version, 1)));
      return version;
    };
    for (const auto& [sector, version] : durable) {
      ASSERT_GE(version_of(sector), version) << "sector " << sector << " was promised";
    }
    for (const auto& ring : rings) {
      std::uint64_t newest = 0;
      for (const auto& sent : ring->sent) {
        if (version_of(sent.sector) == sent.version) newest = std::max(newest, sent.epoch);
      }
      for (const auto& sent : ring->sent) {
        if (sent.epoch >= newest) continue;
        ASSERT_GE(version_of(sent.sector), sent.version)
            << "sector " << sent.sector
            << " from before a barrier is lost, one from behind is there";
      }
    }
    ++checks;
  }

  loopback::LoopbackXen xen;
  std::shared_ptr<loopback::GuestDomain> domain = xen.create_domain({7});
  std::unique_ptr<SimDisk> disk;
  std::shared_ptr<Image> image;
  std::vector<std::unique_ptr<SimWorker>> workers;
  std::vector<std::unique_ptr<Ring>> rings;
  std::vector<QueueId> ids;
  Versions answered, durable;
  int checks = 0;
};
XENBLK_FOR_ALL_LAYOUTS(PowerCut);

TEST_P(PowerCut, KeepsWhatFlushesAndBarriersPromise) {
  const auto* fixed = std::getenv("XENBLK_TEST_SEED");
  const auto seed = fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  start(seed);
  for (int i = 0; i < 20'000 && !HasFatalFailure(); ++i) step();
  EXPECT_GT(checks, 1000);
  EXPECT_FALSE(durable.empty());
}

}  // namespace
}  // namespace xenblk::ringio::test
