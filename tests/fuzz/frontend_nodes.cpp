// What a guest can write into XenStore: the keys that a session is made of, and the states of the
// life of a device in any order.
#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "backend/negotiation/device_state.h"
#include "backend/negotiation/paths.h"
#include "backend/negotiation/session.h"
#include "tests/fuzz/reader.h"

namespace xenblk::fuzz {
namespace {

using namespace negotiation;

std::string text_of(Input bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_printable(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

// Mostly numbers that mean something.
std::string value(Reader& input) {
  const auto kind = input.u8();
  if (kind < 100) return std::to_string(kind % 20);
  if (kind < 160) return std::to_string(input.u16());
  if (kind < 190) return std::to_string(input.u32());
  if (kind < 200) return std::to_string(input.u64());
  if (kind < 210) return "x86_64-abi";
  if (kind < 220) return "x86_32-abi";
  if (kind < 240) return text_of(input.bytes(input.below(24)));
  return std::string(input.below(3000), static_cast<char>(input.u8()));
}

}  // namespace

// A session is within what was offered, and says nothing that the guest did not write.
void session_nodes(Input bytes) {
  Reader input(bytes);
  const Offer offer{.max_ring_order = static_cast<std::uint32_t>(input.below(5)),
                    .max_queues = static_cast<std::uint32_t>(1 + input.below(kMostQueues)),
                    .persistent_grants = input.below(2) == 1};
  std::map<std::string, std::optional<std::string>, std::less<>> nodes;
  std::size_t asked = 0;
  const auto look = [&](std::string_view name) -> std::optional<std::string> {
    ++asked;
    // What a node holds may change between two looks; mostly it does not.
    const auto found = nodes.find(name);
    if (found != nodes.end() && input.below(16) != 15) return found->second;
    std::optional<std::string> now;
    if (input.below(8) != 7) now = value(input);
    return nodes.insert_or_assign(std::string(name), now).first->second;
  };
  const auto session = negotiate(offer, look);
  // A single page may have either of two names, so the first is looked at before it is read.
  FUZZ_EXPECT(asked <= 5 + offer.max_queues * ((1U << offer.max_ring_order) + 2));
  if (!session) {
    FUZZ_EXPECT(session.error().code == Errc::bad_node || session.error().code == Errc::refused);
    FUZZ_EXPECT(is_printable(session.error().text) && session.error().text.size() < 400);
    return;
  }
  FUZZ_EXPECT(session->ring_order <= offer.max_ring_order);
  FUZZ_EXPECT(!session->queues.empty() && session->queues.size() <= offer.max_queues);
  FUZZ_EXPECT(!session->persistent_grants || offer.persistent_grants);
  for (const auto& queue : session->queues) {
    FUZZ_EXPECT(queue.ring_refs.size() == std::size_t{1} << session->ring_order);
    FUZZ_EXPECT(std::set(queue.ring_refs.begin(), queue.ring_refs.end()).size() ==
                queue.ring_refs.size());
  }
}

namespace {

class Life {
 public:
  explicit Life(Reader& input) : input_(input) {}

  void run() {
    while (!input_.empty() && !gone_) {
      change();
      settle();
    }
  }

 private:
  void change() {
    const auto what = input_.u8();
    switch (what % 16) {
      case 0:
        seen_.exists = what < 128;
        return;
      case 1:
        seen_.online = what < 128;
        return;
      case 2:
        seen_.backend = any_state();
        return;
      case 3:
        seen_.hotplug = static_cast<HotplugStatus>(input_.below(3));
        seen_.has_script = what < 128;
        return;
      case 4:
        seen_.frontend_valid = what >= 32;
        return;
      case 5:
      case 6:
      case 7:
        return finish();
      default:
        seen_.frontend = any_state();
        return;
    }
  }
  XenbusState any_state() { return static_cast<XenbusState>(input_.below(9)); }

  // What was started comes to its end, well or not.
  void finish() {
    const bool well = input_.below(4) != 3;
    if (own_.image == ImagePhase::opening)
      own_.image = well ? ImagePhase::open : ImagePhase::failed;
    if (own_.image == ImagePhase::closing) own_.image = ImagePhase::none;
    if (own_.rings == RingPhase::connecting) {
      own_.rings = well ? RingPhase::connected : RingPhase::failed;
    }
    if (own_.rings == RingPhase::disconnecting) own_.rings = RingPhase::none;
  }

  // Asked again and again until there is nothing to do: that must come soon.
  void settle() {
    for (int steps = 0;; ++steps) {
      FUZZ_EXPECT(steps < 20);
      own_ = observe(own_, seen_);
      const auto action = decide(own_, seen_);
      if (action == Action::wait) return;
      check(action);
      if (action == Action::forget) {
        gone_ = true;
        return;
      }
      own_ = after(action, own_, seen_);
      // Our state stands where we wrote it.
      if (action == Action::offer || action == Action::state_closing ||
          action == Action::state_closed || action == Action::publish_connected) {
        seen_.backend = own_.state;
      }
    }
  }

  void check(Action action) const {
    const bool idle = own_.rings == RingPhase::none || own_.rings == RingPhase::failed;
    switch (action) {
      case Action::open_image:
        FUZZ_EXPECT(own_.image == ImagePhase::none);
        return;
      case Action::connect_rings:
        FUZZ_EXPECT(own_.rings == RingPhase::none && own_.image == ImagePhase::open);
        return;
      case Action::disconnect_rings:
        FUZZ_EXPECT(own_.rings == RingPhase::connected);
        return;
      case Action::close_image:
        FUZZ_EXPECT(own_.image == ImagePhase::open && idle);
        return;
      case Action::publish_connected:
        FUZZ_EXPECT(own_.rings == RingPhase::connected && own_.image == ImagePhase::open);
        return;
      case Action::state_closed:
      case Action::remove_directory:
      case Action::forget:
        FUZZ_EXPECT(idle);
        FUZZ_EXPECT(own_.image == ImagePhase::none || own_.image == ImagePhase::failed);
        return;
      case Action::wait:
      case Action::offer:
      case Action::tell_image:
      case Action::tell_failure:
      case Action::state_closing:
      case Action::tell_shutdown:
        return;
    }
  }

  Reader& input_;
  Own own_;
  Seen seen_{.exists = true, .backend = XenbusState::initialising};
  bool gone_ = false;
};

}  // namespace

// No order of states opens twice, leaves something open, or keeps us busy for ever.
void device_states(Input bytes) {
  Reader input(bytes);
  Life(input).run();
}

// A path that is a device's is one that we would write for it.
void device_paths(Input bytes) {
  const auto path = text_of(bytes);
  const auto key = device_of_path(path, "vbd");
  if (!key) return;
  const auto own = device_of_path(backend_path(*key), "vbd");
  FUZZ_EXPECT(own && *own == *key);
  FUZZ_EXPECT(is_printable(backend_path(*key)) && is_printable(frontend_path(*key)) &&
              is_printable(display_name(*key)));
}

}  // namespace xenblk::fuzz
