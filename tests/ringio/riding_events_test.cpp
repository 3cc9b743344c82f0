// Event channels whose descriptor speaks ports, behind the engine: a socket plays /dev/xen/evtchn.
#include "ringio/riding_events.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

namespace xenblk::ringio::test {
namespace {

using Ports = std::vector<std::uint32_t>;

// Records what is not to ride along.
class RecordedChannels final : public EventChannels {
 public:
  explicit RecordedChannels(int fd) : fd_(fd) {}
  Expected<EventPort> bind(DomainId, EventPort remote) override { return remote; }
  void unbind(EventPort) noexcept override {}
  void notify(EventPort) noexcept override {}
  int fd() const override { return fd_; }
  bool fd_speaks_ports() const override { return true; }
  std::size_t take_pending(std::span<EventPort> out) noexcept override {
    if (pending.empty()) return 0;
    out[0] = {pending.back()};
    pending.pop_back();
    return 1;
  }
  void unmask(std::span<const EventPort> ports) noexcept override {
    for (const auto port : ports) unmasked.push_back(port.n);
  }

  Ports pending;
  Ports unmasked;

 private:
  int fd_;
};

class RidingEventsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends_.data()),
              0);
    start(ends_[0]);
  }
  void TearDown() override {
    engine.reset();
    for (const int fd : ends_) ::close(fd);
  }
  void start(int fd) {
    auto made = UringEngine::make({});
    ASSERT_TRUE(made.has_value()) << describe(made.error());
    engine = std::move(*made);
    channels = std::make_unique<RecordedChannels>(fd);
    events = std::make_unique<RidingEvents>(*channels, *engine);
    const auto signal = [](void* count) noexcept { ++*static_cast<int*>(count); };
    events->start(signal, &signals);
    engine->turn(LoopEngine::kNoWait);
  }
  void raise(const Ports& ports) const {
    const auto bytes = ports.size() * sizeof(ports[0]);
    ASSERT_EQ(::write(ends_[1], ports.data(), bytes), static_cast<ssize_t>(bytes));
  }
  void wait_for_signal() {
    const int before = signals;
    while (signals == before) engine->turn(LoopEngine::kForever);
  }
  Ports take(std::size_t at_most) {
    std::vector<EventPort> out(at_most);
    out.resize(events->take_pending(out));
    Ports taken;
    for (const auto port : out) taken.push_back(port.n);
    return taken;
  }
  Ports seen_by_kernel() const {
    Ports ports(512);
    const auto length = ::read(ends_[1], ports.data(), ports.size() * sizeof(ports[0]));
    ports.resize(length < 0 ? 0 : static_cast<std::size_t>(length) / sizeof(ports[0]));
    return ports;
  }

  std::unique_ptr<UringEngine> engine;
  std::unique_ptr<RecordedChannels> channels;
  std::unique_ptr<RidingEvents> events;
  int signals = 0;

 private:
  std::array<int, 2> ends_ = {-1, -1};
};

TEST_F(RidingEventsTest, GivesThePortsThatTheDescriptorSaysAndReadsOn) {
  EXPECT_EQ(take(4), Ports{});
  raise({5, 7, 9});
  wait_for_signal();
  EXPECT_EQ(take(2), (Ports{5, 7}));
  EXPECT_EQ(take(2), Ports{9});
  EXPECT_EQ(take(2), Ports{});
  raise({11});
  wait_for_signal();
  EXPECT_EQ(take(2), Ports{11});
}

TEST_F(RidingEventsTest, UnmasksWithTheNextTurn) {
  const std::array<EventPort, 2> ports{{{3}, {4}}};
  events->unmask(ports);
  EXPECT_EQ(seen_by_kernel(), Ports{});
  engine->turn(LoopEngine::kNoWait);
  EXPECT_EQ(seen_by_kernel(), (Ports{3, 4}));
  EXPECT_EQ(channels->unmasked, Ports{});
}

TEST_F(RidingEventsTest, UnmasksAtOnceWhatTheEngineHasNoRoomFor) {
  const std::array<EventPort, 1> first{{{3}}};
  const std::array<EventPort, 1> second{{{4}}};
  events->unmask(first);
  events->unmask(second);
  EXPECT_EQ(channels->unmasked, Ports{4});
  const std::vector<EventPort> many(257, EventPort{6});
  engine->turn(LoopEngine::kNoWait);
  EXPECT_EQ(seen_by_kernel(), Ports{3});
  events->unmask(many);
  EXPECT_EQ(channels->unmasked.size(), 258U);
}

TEST_F(RidingEventsTest, UnmasksByItselfWhatTheDescriptorDidNotTake) {
  engine.reset();
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);  // takes eight bytes, never four
  start(fd);
  const std::array<EventPort, 1> port{{{3}}};
  events->unmask(port);
  engine->turn(LoopEngine::kNoWait);
  EXPECT_EQ(channels->unmasked, Ports{3});
  engine.reset();
  ::close(fd);
}

TEST_F(RidingEventsTest, WatchesADescriptorThatTheKernelCannotReadSo) {
  engine.reset();
  const int inner = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);  // can be waited for, not read
  epoll_event wanted = {.events = EPOLLIN, .data = {}};
  ASSERT_EQ(::epoll_ctl(fd, EPOLL_CTL_ADD, inner, &wanted), 0);
  start(fd);
  EXPECT_EQ(take(2), Ports{});
  channels->pending = {8};
  ::eventfd_write(inner, 1);
  wait_for_signal();
  EXPECT_EQ(take(2), Ports{8});
  engine.reset();
  ::close(fd);
  ::close(inner);
}

TEST_F(RidingEventsTest, NothingIsReadOnceTheEngineIsGone) {
  engine.reset();
  raise({5});
  EXPECT_EQ(take(2), Ports{});
}

}  // namespace
}  // namespace xenblk::ringio::test
