// The life of a device, driven as the control plane drives it: actions until it waits, results in
// between.
#include "backend/negotiation/device_state.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace xenblk::negotiation {
namespace {

using enum Action;
using State = XenbusState;
using Actions = std::vector<Action>;

// Carries out actions at once; asynchronous ones stay under way until finish() reports their
// result.
class Life {
 public:
  Own own;
  Seen seen{.exists = true, .backend = State::initialising, .frontend = State::initialising};

  // All actions up to the next wait.
  Actions run() {
    Actions actions;
    for (int step = 0; step < 32; ++step) {
      own = observe(own, seen);
      const auto action = decide(own, seen);
      if (action == wait) return actions;
      actions.push_back(action);
      if (action == forget) return actions;
      if (action == remove_directory) {
        seen.exists = false;
        return actions;
      }
      own = after(action, own, seen);
      if (wrote_state(action)) seen.backend = own.state;
      // It reads what is in the drive now.
      if (action == open_image) seen.other_medium = false;
    }
    ADD_FAILURE() << "never comes to rest";
    return actions;
  }
  // All actions when every asynchronous one succeeds at once.
  Actions run_through() {
    Actions all;
    for (int round = 0; round < 32; ++round) {
      const auto actions = run();
      all.insert(all.end(), actions.begin(), actions.end());
      if (!finish()) return all;
    }
    ADD_FAILURE() << "never comes to rest";
    return all;
  }
  bool finish(bool success = true) {
    if (own.image == ImagePhase::opening)
      own.image = success ? ImagePhase::open : ImagePhase::failed;
    else if (own.image == ImagePhase::closing)
      own.image = ImagePhase::none;
    else if (own.rings == RingPhase::connecting)
      own.rings = success ? RingPhase::connected : RingPhase::failed;
    else if (own.rings == RingPhase::disconnecting)
      own.rings = RingPhase::none;
    else
      return false;
    return true;
  }
  Actions frontend(State state) {
    seen.frontend = state;
    return run_through();
  }
  Actions toolstack_closes() {
    seen.online = false;
    seen.backend = State::closing;
    return run_through();
  }
  void connect() {
    run_through();
    frontend(State::initialised);
    frontend(State::connected);
    ASSERT_EQ(own.state, State::connected);
    ASSERT_EQ(own.rings, RingPhase::connected);
  }

 private:
  static bool wrote_state(Action action) {
    return action == offer || action == publish_connected || action == state_closing ||
           action == state_closed;
  }
};

TEST(DeviceLife, OffersBeforeItOpensTheImage) {
  Life life;
  EXPECT_EQ(life.run(), (Actions{offer, open_image}));
}

TEST(DeviceLife, TellsTheScriptWhenTheImageIsOpen) {
  Life life;
  life.run();
  life.finish();
  EXPECT_EQ(life.run(), Actions{tell_image});
}

TEST(DeviceLife, ConnectsWhenTheFrontendIsInitialised) {
  Life life;
  life.run_through();
  EXPECT_EQ(life.frontend(State::initialised), (Actions{connect_rings, publish_connected}));
  EXPECT_EQ(life.frontend(State::connected), Actions{});
}

TEST(DeviceLife, DoesTheWorkOfStatesThatTheFrontendSkipped) {
  Life life;
  EXPECT_EQ(life.frontend(State::connected),
            (Actions{offer, open_image, tell_image, connect_rings, publish_connected}));
}

TEST(DeviceLife, WaitsForTheImageBeforeItConnects) {
  Life life;
  life.run();
  life.seen.frontend = State::initialised;
  EXPECT_EQ(life.run(), Actions{});
  life.finish();
  EXPECT_EQ(life.run(), (Actions{tell_image, connect_rings}));
}

TEST(DeviceLife, KeepsTheRingsWhileTheFrontendIsClosing) {
  Life life;
  life.connect();
  EXPECT_EQ(life.frontend(State::closing), Actions{state_closing});
  EXPECT_EQ(life.own.rings, RingPhase::connected);
}

TEST(DeviceLife, DrainsAndReleasesBeforeItSaysClosed) {
  Life life;
  life.connect();
  life.frontend(State::closing);
  EXPECT_EQ(life.frontend(State::closed), (Actions{disconnect_rings, close_image, state_closed}));
}

TEST(DeviceLife, ServesAFrontendThatComesBackWhileOnline) {
  Life life;
  for (int cycle = 0; cycle < 3; ++cycle) {  // what a kexec does
    life.connect();
    life.frontend(State::closing);
    life.frontend(State::closed);
    EXPECT_EQ(life.frontend(State::initialising), (Actions{offer, open_image, tell_image}));
  }
}

TEST(DeviceLife, StaysClosedWhenNotOnline) {
  Life life;
  life.connect();
  life.seen.online = false;
  life.frontend(State::closed);
  EXPECT_EQ(life.frontend(State::initialising), Actions{});
  EXPECT_EQ(life.frontend(State::initialised), Actions{});
}

TEST(DeviceLife, ClosesWhenTheFrontendBeginsAgainWithoutClosing) {
  Life life;
  life.connect();
  EXPECT_EQ(life.frontend(State::initialising),
            (Actions{disconnect_rings, close_image, state_closed, offer, open_image, tell_image}));
}

TEST(DeviceLife, ReplacesRingsOfAFrontendThatSaysInitialisedAgain) {
  Life life;
  life.connect();
  EXPECT_EQ(life.frontend(State::initialised),
            (Actions{disconnect_rings, connect_rings, publish_connected}));
}

TEST(DeviceLife, EndsWithTheFrontendWhenAShutdownIsRequested) {
  Life life;
  life.connect();
  life.seen.shutdown = ShutdownRequest::normal;
  EXPECT_EQ(life.run_through(), Actions{state_closing});
  EXPECT_EQ(life.frontend(State::closing), Actions{});
  EXPECT_EQ(life.frontend(State::closed),
            (Actions{disconnect_rings, close_image, state_closed, tell_shutdown}));
  EXPECT_EQ(life.frontend(State::initialising), Actions{}) << "for as long as the request stands";
  life.seen.shutdown = ShutdownRequest::none;
  EXPECT_EQ(life.run_through(), (Actions{offer, open_image, tell_image}));
}

TEST(DeviceLife, EndsAtOnceWhenAShutdownIsForced) {
  for (const bool asked_to_close : {false, true}) {
    Life life;
    life.connect();
    life.seen.shutdown = ShutdownRequest::force;
    if (asked_to_close) life.seen.backend = State::closing;
    EXPECT_EQ(life.run_through(),
              (Actions{disconnect_rings, close_image, state_closed, tell_shutdown}));
  }
}

TEST(DeviceLife, RemovesItsDirectoryWhereNobodyElseDoes) {
  Life life;
  life.seen.ours_to_remove = true;
  life.connect();
  EXPECT_EQ(life.frontend(State::closed), (Actions{disconnect_rings, close_image, state_closed}))
      << "the frontend may come back";
  life.seen.online = false;
  EXPECT_EQ(life.run(), Actions{remove_directory});
  EXPECT_EQ(life.run(), Actions{forget});
}

TEST(DeviceLife, ChangesTheMediumUnderAConnectedFrontend) {
  Life life;
  life.connect();
  life.seen.other_medium = true;
  EXPECT_EQ(life.run(), Actions{disconnect_rings});
  life.finish();
  EXPECT_EQ(life.run(), Actions{close_image});
  life.finish();
  EXPECT_EQ(life.run_through(),
            (Actions{open_image, tell_image, connect_rings, publish_connected}));
  EXPECT_EQ(life.own.state, State::connected);
}

TEST(DeviceLife, ChangesTheMediumBeforeTheFrontendConnects) {
  Life life;
  life.run_through();
  life.seen.other_medium = true;
  EXPECT_EQ(life.run(), Actions{close_image});
  life.finish();
  EXPECT_EQ(life.run_through(), (Actions{open_image, tell_image}));
}

TEST(DeviceLife, ClosesThoughTheMediumIsBeingChanged) {
  Life life;
  life.connect();
  life.seen.other_medium = true;
  EXPECT_EQ(life.run(), Actions{disconnect_rings});
  life.seen.online = false;
  life.seen.backend = State::closing;
  EXPECT_EQ(life.run_through(), (Actions{close_image, state_closed}));
}

TEST(DeviceLife, ReplacesRingsOfAFrontendThatBeganAgainWhileTheMediumWasChanged) {
  Life life;
  life.connect();
  life.seen.other_medium = true;
  EXPECT_EQ(life.run(), Actions{disconnect_rings});
  life.finish();
  EXPECT_EQ(life.run(), Actions{close_image});
  life.finish();
  EXPECT_EQ(life.run(), Actions{open_image});
  life.finish();
  EXPECT_EQ(life.run(), (Actions{tell_image, connect_rings}));
  // With the old rings, while the frontend makes new ones.
  life.seen.frontend = State::initialised;
  EXPECT_EQ(life.run_through(), (Actions{disconnect_rings, connect_rings, publish_connected}));
}

TEST(DeviceLife, WaitsForALiveFrontendWhenTheToolstackCloses) {
  Life life;
  life.connect();
  EXPECT_EQ(life.toolstack_closes(), Actions{});
  EXPECT_EQ(life.frontend(State::closing), Actions{});
  EXPECT_EQ(life.frontend(State::closed), (Actions{disconnect_rings, close_image, state_closed}));
}

TEST(DeviceLife, ClosesAtOnceWhenNoFrontendEverConnected) {
  Life life;
  life.run_through();
  EXPECT_EQ(life.toolstack_closes(), (Actions{close_image, state_closed}));
}

TEST(DeviceLife, ClosesWhenTheFrontendsDirectoryIsGone) {
  Life life;
  life.connect();
  EXPECT_EQ(life.frontend(State::unknown), (Actions{disconnect_rings, close_image, state_closed}));
}

TEST(DeviceLife, ForgetsADeviceWhoseDirectoryIsGone) {
  Life life;
  life.connect();
  life.seen = {};
  EXPECT_EQ(life.run_through(), (Actions{disconnect_rings, close_image, forget}));
}

TEST(DeviceLife, EndsWhenTheDirectoryWasRemovedAndMadeAgain) {
  Life life;
  life.connect();
  life.seen.backend = State::initialising;
  life.seen.frontend = State::initialising;
  EXPECT_EQ(life.run_through(), (Actions{disconnect_rings, close_image, forget}));
}

TEST(DeviceLife, ClosesADirectoryThatWasMadeAgainAndAskedToCloseBeforeWeLooked) {
  Life life;
  life.connect();
  life.frontend(State::closed);
  life.seen.frontend = State::initialising;
  EXPECT_EQ(life.toolstack_closes(), Actions{state_closed});
}

TEST(DeviceLife, AttachesToALiveRingOfAnEarlierDaemonWithoutOfferingAgain) {
  Life life;
  life.seen.backend = State::connected;
  EXPECT_EQ(life.frontend(State::connected),
            (Actions{open_image, tell_image, connect_rings, publish_connected}));
}

TEST(DeviceLife, ServesTheRingsOfAnEarlierDaemonWhenTheToolstackAskedToCloseMeanwhile) {
  for (const auto frontend : {State::connected, State::closing}) {
    Life life;
    life.seen = {.exists = true, .backend = State::closing, .online = false, .frontend = frontend};
    EXPECT_EQ(life.run_through(), (Actions{open_image, connect_rings}));
    EXPECT_EQ(life.frontend(State::closed), (Actions{disconnect_rings, close_image, state_closed}));
  }
}

TEST(DeviceLife, ClosesWhatAnEarlierDaemonLeftWhenItCannotBeServed) {
  Life life;
  life.seen = {
      .exists = true, .backend = State::closing, .online = false, .frontend = State::connected};
  EXPECT_EQ(life.run(), Actions{open_image});
  life.finish(false);
  EXPECT_EQ(life.run(), (Actions{state_closed, tell_failure}));
}

TEST(DeviceLife, FinishesACloseThatAnEarlierDaemonLeft) {
  Life life;
  life.seen = {
      .exists = true, .backend = State::closing, .online = false, .frontend = State::closed};
  EXPECT_EQ(life.run_through(), Actions{state_closed});
}

class ImpossibleState : public testing::TestWithParam<State> {};
INSTANTIATE_TEST_SUITE_P(DeviceLife, ImpossibleState,
                         testing::Values(State::init_wait, State::reconfiguring,
                                         State::reconfigured));

TEST_P(ImpossibleState, OfTheFrontendIsAFailure) {
  Life life;
  life.run_through();
  EXPECT_EQ(life.frontend(GetParam()), (Actions{tell_failure, state_closing}));
  EXPECT_EQ(life.frontend(State::closed), (Actions{close_image, state_closed}));
}

TEST(DeviceLife, TakesAValueThatIsNoStateAsAFailure) {
  Life life;
  life.run_through();
  life.seen.frontend_valid = false;
  EXPECT_EQ(life.run_through(), (Actions{tell_failure, state_closing}));
}

TEST(DeviceLife, TellsARingFailureAndClosesWithTheFrontend) {
  Life life;
  life.run_through();
  life.seen.frontend = State::initialised;
  life.run();
  life.finish(false);
  EXPECT_EQ(life.run(), (Actions{tell_failure, state_closing}));
  EXPECT_EQ(life.frontend(State::closing), Actions{});
  EXPECT_EQ(life.frontend(State::closed), (Actions{close_image, state_closed}));
  EXPECT_EQ(life.frontend(State::initialising), (Actions{offer, open_image, tell_image}));
}

// An earlier daemon's rings that cannot be taken over: the right daemon may still come.
Life life_with_held_rings() {
  Life life;
  life.seen.backend = life.seen.frontend = State::connected;
  life.run(), life.finish(), life.run();
  life.own.rings = RingPhase::held;
  return life;
}

TEST(DeviceLife, LeavesAGuestAloneWhoseRingsCannotBeTakenOver) {
  auto life = life_with_held_rings();
  EXPECT_EQ(life.run(), Actions{tell_failure});
  EXPECT_EQ(life.run(), Actions{});
  EXPECT_EQ(life.seen.backend, State::connected);
}

TEST(DeviceLife, ClosesADiskWithHeldRingsWhenItsGuestOrTheToolstackDoes) {
  auto life = life_with_held_rings();
  life.run();
  EXPECT_EQ(life.frontend(State::closing), Actions{state_closing});
  life = life_with_held_rings();
  life.run();
  life.seen.backend = State::closing;
  EXPECT_EQ(life.run_through(), (Actions{close_image, state_closed}));
  life = life_with_held_rings();
  life.run();
  life.seen = {};
  EXPECT_EQ(life.run_through(), (Actions{close_image, forget}));
}

TEST(DeviceLife, WaitsForTheScriptToReadWhyTheImageFailed) {
  Life life;
  life.seen.has_script = true;
  life.run();
  life.finish(false);
  EXPECT_EQ(life.run(), Actions{tell_failure});
  life.seen.hotplug = HotplugStatus::error;
  EXPECT_EQ(life.run(), Actions{state_closing});
}

TEST(DeviceLife, ClosesAtOnceOnABadImageWhenThereIsNoScript) {
  Life life;
  life.run();
  life.finish(false);
  EXPECT_EQ(life.run(), (Actions{tell_failure, state_closing}));
}

TEST(DeviceLife, DoesNotTryABadImageAgainUntilTheFrontendHasMoved) {
  Life life;
  life.run();
  life.finish(false);
  life.run();
  EXPECT_EQ(life.run(), Actions{});
  EXPECT_EQ(life.frontend(State::closed), Actions{state_closed});
  EXPECT_EQ(life.frontend(State::initialising), (Actions{offer, open_image, tell_image}));
}

TEST(DeviceLife, ClosesAFailedDeviceWhenTheToolstackAsks) {
  Life life;
  life.run();
  life.finish(false);
  life.run();
  life.seen.online = false;  // libxl: state 5 stands there already, ours
  EXPECT_EQ(life.run(), Actions{state_closed});
}

// Whatever a guest and a toolstack write, in whatever order: the device comes to rest after each
// change, is never told Closed while it holds anything, and is forgotten with nothing left once its
// directory is gone.
TEST(DeviceLife, ComesToRestUnderRandomChanges) {
  const auto seed = std::random_device{}();
  std::mt19937 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  auto pick = [&](int limit) { return static_cast<int>(random() % static_cast<unsigned>(limit)); };
  for (int walk = 0; walk < 2000; ++walk) {
    Life life;
    life.seen.has_script = pick(2) == 0;
    for (int change = 0; change < 40; ++change) {
      switch (pick(10)) {
        case 0:
          life.seen.online = pick(4) != 0;
          break;
        case 1:
          if (pick(4) == 0) life.seen.backend = State::closing;
          break;
        case 2:
          life.seen.hotplug = static_cast<HotplugStatus>(pick(3));
          break;
        case 3:
          life.seen.frontend_valid = pick(5) != 0;
          break;
        case 4:
          life.finish(pick(3) != 0);
          break;
        case 5:
          life.seen.other_medium = true;
          break;
        case 6:
          life.seen.shutdown = static_cast<ShutdownRequest>(pick(3));
          break;
        default:
          life.seen.frontend = static_cast<State>(pick(9));
          break;
      }
      for (const auto action : life.run()) {
        if (action != state_closed) continue;
        EXPECT_NE(life.own.rings, RingPhase::connected);
        EXPECT_NE(life.own.image, ImagePhase::open);
      }
      if (HasFailure()) return;
    }
    life.seen = {};
    const auto last = life.run_through();
    ASSERT_FALSE(last.empty());
    EXPECT_EQ(last.back(), forget);
    EXPECT_TRUE(life.own.rings == RingPhase::none || life.own.rings == RingPhase::failed);
    EXPECT_TRUE(life.own.image == ImagePhase::none || life.own.image == ImagePhase::failed);
  }
}

}  // namespace
}  // namespace xenblk::negotiation
