// Keys that make no sense: the backend says which, closes, and serves the next frontend.
#include <functional>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

using Change = std::function<void(Disk&, const Ring&)>;

// Offers a good session but for the change. The reason of the refusal, with REF for the ring's
// grant and SELF for this guest's number, which are others each time.
std::string refusal(Disk& disk, Ring& ring, const Change& change) {
  disk.begin();
  publish(disk, ring);
  change(disk, ring);
  disk.set(State::initialised);
  if (disk.await({State::connected, State::closing}) == State::connected) return "connected";
  auto text = disk.offered("hotplug-error");
  text = replaced(std::move(text), "domain " + disk.offered("frontend-id"), "domain SELF");
  text = replaced(std::move(text), "grant " + std::to_string(ring.pages().ref()), "grant REF");
  return replaced(std::move(text), "ring-ref " + std::to_string(ring.pages().ref()),
                  "ring-ref REF");
}
std::string refusal(Disk& disk, const Change& change) {
  Ring ring;
  return refusal(disk, ring, change);
}

// A key with this value.
template <const char* key>
std::string refused_value(Disk& disk, const std::string& value) {
  return refusal(disk, [&](Disk& offered, const Ring&) { offered.set(key, value); });
}
constexpr char kProtocol[] = "protocol";
constexpr char kRingRef[] = "ring-ref";
constexpr char kEventChannel[] = "event-channel";
constexpr char kQueues[] = "multi-queue-num-queues";
constexpr char kOrder[] = "ring-page-order";
constexpr char kPages[] = "num-ring-pages";

std::string read_only_ring(Disk& disk) {
  Ring ring;
  const Pages page(1, Grant::read_only);
  return replaced(refusal(disk, ring,
                          [&](Disk& offered, const Ring&) {
                            offered.set(kRingRef, std::to_string(page.ref()));
                          }),
                  "grant " + std::to_string(page.ref()), "grant REF");
}

std::string revoked_ring(Disk& disk) {
  Ring ring;
  Pages page;
  const auto ref = page.ref();
  page.revoke();
  return replaced(
      refusal(disk, ring,
              [&](Disk& offered, const Ring&) { offered.set(kRingRef, std::to_string(ref)); }),
      "grant " + std::to_string(ref), "grant REF");
}

std::string same_page_for_two(Disk& disk) {
  return refusal(disk, [](Disk& offered, const Ring& ring) {
    offered.set(kOrder, "1");
    offered.set("ring-ref0", std::to_string(ring.pages().ref()));
    offered.set("ring-ref1", std::to_string(ring.pages().ref()));
  });
}

std::string missing_page(Disk& disk) {
  return refusal(disk, [](Disk& offered, const Ring& ring) {
    offered.set(kOrder, "1");
    offered.set("ring-ref0", std::to_string(ring.pages().ref()));
  });
}

// The second queue cannot have the port that the first has.
std::string one_port_for_two(Disk& disk) {
  const Ring second;
  auto text = refusal(disk, [&](Disk& offered, const Ring& ring) {
    offered.set(kQueues, "2");
    for (const auto& [queue, its] : {std::pair{"queue-0/", &ring}, {"queue-1/", &second}}) {
      offered.set(std::string(queue) + kRingRef, std::to_string(its->pages().ref()));
      offered.set(std::string(queue) + kEventChannel, std::to_string(ring.port().number()));
    }
  });
  // The port's own number is another each time.
  const auto at = text.find("channel ");
  if (at == std::string::npos) return text;
  const auto end = text.find(' ', at + 8);
  return text.replace(at + 8, end - at - 8, "PORT");
}

constexpr Case kCases[] = {
    {"an-unknown-protocol", "protocol \"vax-abi\" is unknown",
     [](Disk& disk) { return refused_value<kProtocol>(disk, "vax-abi"); }},
    {"a-ring-reference-that-is-no-number", "ring-ref is \"%s%n\", not a number",
     [](Disk& disk) { return refused_value<kRingRef>(disk, "%s%n"); }},
    {"a-negative-ring-reference", "ring-ref is \"-1\", not a number",
     [](Disk& disk) { return refused_value<kRingRef>(disk, "-1"); }},
    {"a-ring-reference-beyond-32-bits", "ring-ref is \"4294967296\", not a number",
     [](Disk& disk) { return refused_value<kRingRef>(disk, "4294967296"); }},
    {"a-huge-value",
     "event-channel is \"9999999999999999999999999999999999999999...\", not a number",
     [](Disk& disk) { return refused_value<kEventChannel>(disk, std::string(1900, '9')); }},
    {"a-binary-value", "event-channel is \"5???7\", not a number",
     [](Disk& disk) { return refused_value<kEventChannel>(disk, {'5', '\0', '\n', '\xff', '7'}); }},
    {"an-empty-value", "ring-ref is \"\", not a number",
     [](Disk& disk) { return refused_value<kRingRef>(disk, ""); }},
    {"a-missing-ring-reference", "ring-ref is missing",
     [](Disk& disk) {
       return refusal(disk, [](Disk& offered, const Ring&) { offered.remove(kRingRef); });
     }},
    {"a-missing-event-channel", "event-channel is missing",
     [](Disk& disk) {
       return refusal(disk, [](Disk& offered, const Ring&) { offered.remove(kEventChannel); });
     }},
    {"event-channel-0", "event-channel is 0",
     [](Disk& disk) { return refused_value<kEventChannel>(disk, "0"); }},
    {"an-event-channel-that-cannot-be-bound",
     "binding event channel 4000 of domain SELF: Invalid argument",
     [](Disk& disk) { return refused_value<kEventChannel>(disk, "4000"); }},
    {"one-event-channel-for-two-queues",
     "binding event channel PORT of domain SELF: Invalid argument", one_port_for_two},
    {"a-grant-that-cannot-be-mapped",
     "mapping 1 page(s) of domain SELF, the first with grant 4000000: Invalid argument",
     [](Disk& disk) { return refused_value<kRingRef>(disk, "4000000"); }},
    {"a-read-only-ring",
     "mapping 1 page(s) of domain SELF, the first with grant REF: Invalid argument",
     read_only_ring},
    {"a-revoked-ring",
     "mapping 1 page(s) of domain SELF, the first with grant REF: Invalid argument", revoked_ring},
    {"one-page-for-two-of-the-ring", "ring-ref REF is used for two ring pages", same_page_for_two},
    {"a-ring-one-of-whose-pages-is-missing", "ring-ref1 is missing", missing_page},
    {"a-larger-ring-than-offered", "ring-page-order is 99, at most 4 is offered",
     [](Disk& disk) { return refused_value<kOrder>(disk, "99"); }},
    {"three-ring-pages", "num-ring-pages is 3, powers of two up to 16 are offered",
     [](Disk& disk) { return refused_value<kPages>(disk, "3"); }},
    {"no-queue", "multi-queue-num-queues is 0, 1 to 2 are offered",
     [](Disk& disk) { return refused_value<kQueues>(disk, "0"); }},
    {"more-queues-than-offered", "multi-queue-num-queues is 4294967295, 1 to 2 are offered",
     [](Disk& disk) { return refused_value<kQueues>(disk, "4294967295"); }},
};

}  // namespace

std::span<const Case> session_cases() {
  return kCases;
}

}  // namespace hostile
