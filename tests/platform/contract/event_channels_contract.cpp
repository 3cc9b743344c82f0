// The rules of the event channel seam (xenblk/xen.h), on every implementation.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/platform/contract/world.h"

namespace xenblk::contract {
namespace {

class EventChannelsContract : public testing::Test {
 protected:
  EventChannelsContract()
      : world_(make_world()), channels_(world_->xen().open_event_channels().value()) {}

  EventPort bind(EventPort remote) { return channels_->bind(world_->peer(), remote).value(); }

  // A bound pair whose first event, that of the bind, has been consumed.
  EventPort bind_quietly(EventPort remote) {
    const EventPort local = bind(remote);
    receive(local);
    return local;
  }

  Errc bind_error(EventPort remote) {
    const auto bound = channels_->bind(world_->peer(), remote);
    EXPECT_FALSE(bound.has_value());
    return bound ? Errc::io : bound.error().code;
  }

  // Waits for exactly this port and leaves it masked.
  void take(EventPort expected) {
    ASSERT_TRUE(becomes_readable(channels_->fd()));
    EventPort ports[8];
    ASSERT_EQ(channels_->take_pending(ports), 1U);
    EXPECT_EQ(ports[0], expected);
    EXPECT_EQ(channels_->take_pending(ports), 0U);
  }

  void unmask(EventPort port) { channels_->unmask({&port, 1}); }

  void receive(EventPort expected) {
    take(expected);
    unmask(expected);
  }

  bool quiet() { return !becomes_readable(channels_->fd(), 100); }

  std::unique_ptr<World> world_;
  std::unique_ptr<EventChannels> channels_;
};

TEST_F(EventChannelsContract, IsQuietWhenNothingIsBound) {
  EventPort port;
  EXPECT_EQ(channels_->take_pending({&port, 1}), 0U);
  EXPECT_TRUE(quiet());
}

TEST_F(EventChannelsContract, RaisesANewPortAtOnce) {
  take(bind(world_->allocate_port()));
}

TEST_F(EventChannelsContract, DeliversEventsOfThePeer) {
  const EventPort remote = world_->allocate_port();
  const EventPort local = bind_quietly(remote);
  EXPECT_TRUE(quiet());
  world_->notify_from_peer(remote);
  receive(local);
}

TEST_F(EventChannelsContract, SendsEventsToThePeer) {
  const EventPort remote = world_->allocate_port();
  const EventPort local = bind_quietly(remote);
  channels_->notify(local);
  EXPECT_TRUE(world_->peer_receives(remote, kPatienceMs));
  EXPECT_FALSE(world_->peer_receives(remote, 50));
}

TEST_F(EventChannelsContract, KeepsAPortMaskedUntilItIsUnmasked) {
  const EventPort remote = world_->allocate_port();
  const EventPort local = bind_quietly(remote);
  world_->notify_from_peer(remote);
  take(local);
  world_->notify_from_peer(remote);
  EXPECT_TRUE(quiet());
  unmask(local);
  receive(local);
}

TEST_F(EventChannelsContract, ReportsAStormOnce) {
  const EventPort remote = world_->allocate_port();
  const EventPort local = bind_quietly(remote);
  for (int i = 0; i < 1000; ++i) world_->notify_from_peer(remote);
  take(local);
  EXPECT_TRUE(quiet());
}

TEST_F(EventChannelsContract, ReportsManyPortsInOneCall) {
  std::vector<EventPort> remotes, locals;
  for (int i = 0; i < 20; ++i) remotes.push_back(world_->allocate_port());
  for (const EventPort remote : remotes) locals.push_back(bind(remote));
  std::vector<EventPort> seen;
  while (seen.size() < 20 && becomes_readable(channels_->fd())) {
    EventPort ports[64];
    const auto count = channels_->take_pending(ports);
    seen.insert(seen.end(), ports, ports + count);
  }
  std::ranges::sort(seen);
  std::ranges::sort(locals);
  EXPECT_EQ(seen, locals);
  channels_->unmask(seen);
  for (const EventPort remote : remotes) world_->notify_from_peer(remote);
  EXPECT_TRUE(becomes_readable(channels_->fd()));
}

TEST_F(EventChannelsContract, HandsOutPendingPortsInPieces) {
  bind(world_->allocate_port());
  bind(world_->allocate_port());
  std::size_t seen = 0;
  EventPort port;
  while (seen < 2 && becomes_readable(channels_->fd())) {
    seen += channels_->take_pending({&port, 1});
  }
  EXPECT_EQ(seen, 2U);
  EXPECT_EQ(channels_->take_pending({&port, 1}), 0U);
}

TEST_F(EventChannelsContract, RefusesAPortThatIsBoundAlready) {
  const EventPort remote = world_->allocate_port();
  bind_quietly(remote);
  EXPECT_EQ(bind_error(remote), Errc::bad_port);
}

TEST_F(EventChannelsContract, RefusesAPortThatDoesNotExist) {
  EXPECT_EQ(bind_error({0}), Errc::bad_port);
  EXPECT_EQ(bind_error({1000000}), Errc::bad_port);
}

TEST_F(EventChannelsContract, RefusesADomainThatDoesNotExist) {
  const auto bound = channels_->bind({4242}, {1});
  ASSERT_FALSE(bound.has_value());
  EXPECT_EQ(bound.error().code, Errc::bad_port);
}

TEST_F(EventChannelsContract, BindsAnewAfterUnbind) {
  const EventPort remote = world_->allocate_port();
  channels_->unbind(bind_quietly(remote));
  receive(bind(remote));
}

TEST_F(EventChannelsContract, BindsAnewAfterTheHandleIsGone) {
  const EventPort remote = world_->allocate_port();
  bind(remote);
  channels_ = world_->xen().open_event_channels().value();
  receive(bind(remote));
}

TEST_F(EventChannelsContract, ForgetsThePendingEventOfAnUnboundPort) {
  channels_->unbind(bind(world_->allocate_port()));
  const EventPort other = bind(world_->allocate_port());
  take(other);
}

TEST_F(EventChannelsContract, DeliversEventsBothWaysAfterABindAnew) {
  const EventPort remote = world_->allocate_port();
  channels_->unbind(bind_quietly(remote));
  const EventPort local = bind_quietly(remote);
  world_->notify_from_peer(remote);
  receive(local);
  channels_->notify(local);
  EXPECT_TRUE(world_->peer_receives(remote, kPatienceMs));
}

}  // namespace
}  // namespace xenblk::contract
