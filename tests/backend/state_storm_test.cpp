// A guest that writes its state without end, on a clock that stands still until it is told to go
// on: all that the daemon does for the guest comes out of the budget that it has at one moment.
#include <algorithm>
#include <array>
#include <string_view>

#include "backend/backend.h"
#include "tests/backend/counting_xen.h"
#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

constexpr int kWrites = 20000;
constexpr DomainId kNeighbour{8};
// Reads of a device with nothing to do, and of one that goes from one state to another and
// publishes that.
constexpr std::uint64_t kReadsOfALook = 12;
constexpr std::uint64_t kReadsOfAChange = 100;

class StateStorm : public LoopbackTest {
 protected:
  void SetUp() override {
    auto backend = Backend::start(daemons_xen_, *loop_, {.offer = {}, .workers = 1}, log_);
    ASSERT_TRUE(backend.has_value()) << describe(backend.error());
    backend_ = std::move(*backend);
    toolstack_.add_disk(disk_);
    expect_pumped(disk_, "image-state", "open");
  }
  void TearDown() override {
    frontend_.reset();
    bool detached = false;
    backend_->detach([&] { detached = true; });
    while (!detached) loop_->turn();
    backend_.reset();
    EXPECT_TRUE(xen_.usage().nothing_held());
  }

  void settle() {
    while (loop_->turn()) {
    }
  }
  void guest_writes_state(std::string_view state) {
    const auto path = loopback::frontend_path(kGuest, disk_.device) + "/state";
    ASSERT_TRUE(guests_store_->write(path, state).has_value());
  }
  void storm(int writes = kWrites) {
    for (int i = 0; i < writes; ++i) guest_writes_state("1"), settle();
  }
  void time_goes_on(std::chrono::nanoseconds time) {
    now_ += time;
    loop_->run_due();
    settle();
  }
  loopback::Patience pumped() {
    return {.timeout_ms = kPatience.timeout_ms, .pump = [this] { loop_->turn(); }};
  }
  void expect_pumped(const loopback::Disk& disk, const std::string& name,
                     const std::string& value) {
    EXPECT_TRUE(wait_for_node(
        toolstack_.store(), backend_path(disk) + "/" + name,
        [&](const auto& seen) { return seen == value; }, pumped()))
        << name << " is " << node(disk, name) << log_text();
  }
  // What the daemon does about them, from the moment that it begins.
  negotiation::RingPhase rings() const {
    return backend_->devices().begin()->second->status().own.rings;
  }
  void expect_connects(loopback::SimulatedFrontend& frontend) {
    const auto connected = frontend.connect();
    ASSERT_TRUE(connected.has_value()) << describe(connected.error()) << log_text();
    std::vector<std::byte> sector(kSectorBytes);
    expect_okay(frontend.read({0}, sector));
  }

  EventLoop::Time now_{std::chrono::seconds(1000)};
  std::unique_ptr<EventLoop> loop_ = std::move(*EventLoop::make([this] { return now_; }));
  CountingXen daemons_xen_{xen_.host({0})};
  std::unique_ptr<Backend> backend_;
  const loopback::Disk disk_ = disk(raw_image());
  std::unique_ptr<XenStore> guests_store_ = xen_.open_store_as(kGuest);
  const LookRate rate_;
  const std::uint64_t budget_ = rate_.burst + rate_.for_each_disk;
};

TEST_F(StateStorm, CostsABoundedNumberOfReads) {
  const auto before = daemons_xen_.reads();
  storm();
  EXPECT_LE(daemons_xen_.reads() - before, budget_ * kReadsOfALook);
}

TEST_F(StateStorm, OfTheSameStateCostsOneReadALook) {
  const auto before = daemons_xen_.reads();
  storm();
  EXPECT_LE(daemons_xen_.reads() - before, budget_ + kReadsOfALook) << "the first one sees all";
}

TEST_F(StateStorm, IsNotHeardUntilTheNextLook) {
  storm();
  const auto before = daemons_xen_.events();
  storm();
  EXPECT_EQ(daemons_xen_.events(), before);
  time_goes_on(rate_.refill);
  EXPECT_EQ(daemons_xen_.events(), before + 1) << "the watch is set again";
}

TEST_F(StateStorm, OfTransitionsCostsABoundedNumberOfReads) {
  const auto before = daemons_xen_.reads();
  constexpr std::array<std::string_view, 6> kStates{"1", "3", "4", "5", "6", "nonsense"};
  for (int i = 0; i < kWrites; ++i) {
    guest_writes_state(kStates[static_cast<std::size_t>(i) % kStates.size()]);
    settle();
  }
  EXPECT_LE(daemons_xen_.reads() - before, budget_ * kReadsOfAChange);
}

TEST_F(StateStorm, CostsAsManyLooksAsTimeAllows) {
  storm();
  const auto before = daemons_xen_.reads();
  for (int i = 0; i < 100; ++i) {
    time_goes_on(rate_.refill);
    storm(10);
  }
  const auto reads = daemons_xen_.reads() - before;
  EXPECT_LE(reads, 100 * kReadsOfALook);
  EXPECT_GE(reads, 100U);
}

TEST_F(StateStorm, ThatIsOverLeavesNothingBehind) {
  storm();
  time_goes_on(rate_.refill);
  const auto put_off = [this] {
    return backend_->devices().begin()->second->status().looks_put_off;
  };
  const auto before = put_off();
  const auto events = daemons_xen_.events();
  for (std::uint64_t i = 0; i < budget_; ++i) time_goes_on(rate_.refill);
  EXPECT_EQ(put_off(), before);
  EXPECT_EQ(daemons_xen_.events(), events);
  storm(static_cast<int>(rate_.burst));
  EXPECT_EQ(put_off(), before) << "the guest has its budget again";
}

TEST_F(StateStorm, IsFollowedByALookAtTheLastState) {
  storm();
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->publish_rings().has_value());
  time_goes_on(rate_.refill - std::chrono::nanoseconds(1));
  EXPECT_EQ(rings(), negotiation::RingPhase::none);
  time_goes_on(std::chrono::nanoseconds(1));
  EXPECT_NE(rings(), negotiation::RingPhase::none);
  expect_pumped(disk_, "state", "4");
}

TEST_F(StateStorm, IsNotSeenBetweenLooksWhenSomethingElseChanges) {
  storm();
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->publish_rings().has_value());
  const auto before = daemons_xen_.reads();
  set_node(backend_path(disk_) + "/unknown", "1");
  settle();
  EXPECT_GT(daemons_xen_.reads(), before) << "dom0's nodes are looked at";
  EXPECT_EQ(rings(), negotiation::RingPhase::none);
}

TEST_F(StateStorm, DoesNotDelayTheToolstack) {
  storm();
  EXPECT_TRUE(toolstack_.remove_disk(disk_, pumped())) << log_text();
}

TEST_F(StateStorm, DoesNotDelayTheDestructionOfItsGuest) {
  storm();
  EXPECT_TRUE(toolstack_.destroy_domain(kGuest, {disk_}, pumped())) << log_text();
  settle();
  EXPECT_TRUE(backend_->devices().empty());
}

TEST_F(StateStorm, DoesNotDelayANeighbourThatConnectsAmidIt) {
  storm();
  const auto neighbour = xen_.create_domain(kNeighbour);
  auto its_disk = disk(raw_image("neighbour.raw"));
  its_disk.guest = kNeighbour;
  toolstack_.add_disk(its_disk);
  const auto pump = [this] { storm(1), loop_->turn(); };
  loopback::SimulatedFrontend frontend(
      neighbour, {.patience = {.timeout_ms = kPatience.timeout_ms, .pump = pump}});
  expect_connects(frontend);
}

TEST_F(StateStorm, IsToldOnceAndCounted) {
  storm();
  for (int i = 0; i < 3; ++i) time_goes_on(rate_.refill), storm(1), storm(1);
  const std::string told = "changes its state without end";
  const auto log = log_text();
  const auto first = log.find(told);
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find(told, first + 1), std::string::npos) << log;
  EXPECT_EQ(backend_->devices().begin()->second->status().looks_put_off, 4U);
}

TEST_F(StateStorm, LeavesAGuestThatAttachesAndDetachesAHundredTimesUndelayed) {
  for (int round = 0; round < 100; ++round) {
    auto options = loopback::FrontendOptions{.device = disk_.device};
    options.patience = pumped();
    frontend_ = std::make_unique<loopback::SimulatedFrontend>(guest_, options);
    expect_connects(*frontend_);
    toolstack_.request_removal(disk_);
    ASSERT_TRUE(frontend_->close().has_value()) << round << log_text();
    frontend_.reset();
    ASSERT_TRUE(toolstack_.remove_disk(disk_, pumped())) << round << log_text();
    toolstack_.add_disk(disk_);
    expect_pumped(disk_, "image-state", "open");
  }
  EXPECT_EQ(backend_->devices().begin()->second->status().looks_put_off, 0U);
}

}  // namespace
}  // namespace xenblk::backend
