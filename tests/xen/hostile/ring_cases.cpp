// A ring that lies, and memory that changes while it is read.
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

using Random = std::mt19937;

// Runs beside the one that asks, until the end of this object.
class Beside {
 public:
  explicit Beside(std::function<void(Random&)> step)
      : thread_([step = std::move(step)](const std::stop_token& stop) {
          Random random(5);
          while (!stop.stop_requested()) step(random);
        }) {}

 private:
  std::jthread thread_;
};

void await(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error("no answer");
    std::this_thread::yield();
  }
}

std::uint8_t byte_of(Random& random) {
  return static_cast<std::uint8_t>(random());
}

// A segment that may be anything, except a page that the guest's kernel granted: the backend would
// rightly write to it. The two bytes of padding are read as half a reference by an indirect
// request.
blkif_request_segment any_segment(Random& random, std::uint32_t good) {
  std::uint8_t bytes[sizeof(blkif_request_segment)];
  std::memset(bytes, 0xff, sizeof bytes);
  blkif_request_segment segment;
  std::memcpy(&segment, bytes, sizeof segment);
  segment.gref = random() % 2 == 0 ? good : static_cast<std::uint32_t>(random() | 0x8000'0000);
  segment.first_sect = random() % 8 == 0 ? byte_of(random) : std::uint8_t{0};
  segment.last_sect = random() % 8 == 0 ? byte_of(random) : std::uint8_t{7};
  return segment;
}

// One field of one slot.
void change_a_slot(Ring& ring, Random& random, std::uint32_t good) {
  auto& slot = ring.shared().ring[random() % kRingEntries].req;
  switch (random() % 4) {
    case 0:
      slot.operation = random() % 4 == 0 ? byte_of(random) : std::uint8_t{BLKIF_OP_INDIRECT};
      break;
    case 1:
      slot.nr_segments = byte_of(random);
      break;
    case 2:
      slot.sector_number = random() % 2 == 0 ? random() % 1000 : ~std::uint64_t{random()};
      break;
    default: {
      const auto segment = any_segment(random, good);
      std::memcpy(&slot.seg[random() % BLKIF_MAX_SEGMENTS_PER_REQUEST], &segment, sizeof segment);
    }
  }
}

void fill_ring(Ring& ring, std::uint32_t ref) {
  for (std::uint32_t i = 0; i < kRingEntries; ++i) {
    blkif_request request = transfer(static_cast<int>(i % 2), i * 8ULL, {{ref}, {ref}});
    // Should another operation be written over it: so many indirect segments, whose table has a
    // reference that nobody granted.
    request.handle = 33;
    std::memset(reinterpret_cast<std::byte*>(&request.seg[0]) + 6, 0xff, 2);
    std::memset(reinterpret_cast<std::byte*>(&request.seg[1]) + 6, 0xff, 2);
    ring.put(request);
  }
}

// --- memory that changes ---
std::string slots_that_change(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  page.fill(std::byte{0xa5});
  int answered = 0;
  const Beside mutator([&](Random& random) { change_a_slot(connection.ring, random, page.ref()); });
  for (int round = 0; round < 100; ++round) {
    fill_ring(connection.ring, page.ref());
    connection.ring.push();
    answered += static_cast<int>(connection.ring.take(kRingEntries).size());
  }
  return std::to_string(answered) + " answered";
}

std::string tables_that_change(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  const Pages table;
  table.fill(std::byte{0xff});
  const Beside mutator([&](Random& random) {
    const auto segment = any_segment(random, page.ref());
    std::memcpy(table.memory().data() + random() % 64 * sizeof segment, &segment, sizeof segment);
  });
  int answered = 0;
  for (int round = 0; round < 300; ++round) {
    connection.ring.ask(
        indirect(round % 2, 0, static_cast<std::uint16_t>(1 + round % 64), table.ref()));
    ++answered;
  }
  return std::to_string(answered) + " answered";
}

// --- the header ---
std::string overrun(Disk& disk) {
  Connection connection(disk);
  connection.ring.set_producer(1'000'000);
  for (int i = 0; i < 50; ++i) {
    connection.ring.port().notify();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const auto answers = connection.ring.responses();
  connection.close();
  return std::to_string(answers) + " answered";
}

std::string producer_jumps(Disk& disk) {
  Connection connection(disk);
  auto& ring = connection.ring;
  std::memset(ring.shared().ring, 0xff, kRingEntries * sizeof(blkif_request));
  ring.set_producer(kRingEntries);
  ring.port().notify();
  Tally tally;
  for (const auto& answer : ring.take(kRingEntries)) tally.add(answer);
  connection.close();
  return tally.text();
}

// What the backend publishes is overwritten too, so answers are found where they must stand.
std::string rewritten_header(Disk& disk) {
  Connection connection(disk);
  auto& ring = connection.ring;
  const Pages page;
  int answered = 0;
  {
    const Beside mutator([&](Random& random) {
      auto& shared = ring.shared();
      for (auto* word : {&shared.req_event, &shared.rsp_prod, &shared.rsp_event}) {
        std::atomic_ref(*word).store(static_cast<std::uint32_t>(random()));
      }
    });
    for (; answered < 200; ++answered) {
      auto& slot = ring.shared().ring[ring.producer() % kRingEntries];
      const auto id = ring.put(transfer(BLKIF_OP_READ, 0, {{page.ref()}}));
      const auto* const answer = reinterpret_cast<const volatile std::uint64_t*>(&slot.rsp.id);
      ring.push();
      await([&] { return *answer == id; });
    }
  }
  connection.close();
  return std::to_string(answered) + " answered";
}

std::string answers_never_read(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  std::size_t answered = 0;
  for (int round = 0; round < 5; ++round) {
    fill_ring(connection.ring, page.ref());
    connection.ring.push();
    answered += connection.ring.take(kRingEntries).size();
  }
  connection.close();
  return std::to_string(answered) + " answered";
}

// --- events ---
std::string flood_of_events(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  for (int i = 0; i < 50'000; ++i) connection.ring.port().notify();
  Tally tally;
  tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {{page.ref()}})));
  connection.close();
  return tally.text();
}

constexpr Case kCases[] = {
    {"slots-that-change-while-they-are-read-do-no-harm", "3200 answered", slots_that_change},
    {"indirect-tables-that-change-while-they-are-read", "300 answered", tables_that_change},
    {"an-overrun-stops-the-ring", "0 answered", overrun},
    {"a-producer-that-jumps-over-rubbish", "32 not supported", producer_jumps},
    {"a-header-that-is-rewritten-all-the-time-only-costs-events", "200 answered", rewritten_header},
    {"answers-that-are-never-read", "160 answered", answers_never_read},
    {"a-flood-of-events-costs-one-for-each-pass", "1 okay", flood_of_events},
};

}  // namespace

std::span<const Case> ring_cases() {
  return kCases;
}

void storm(Disk& disk, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  Connection connection(disk);
  auto& ring = connection.ring;
  const Pages page;
  page.fill(std::byte{0xa5});
  const Beside mutator([&](Random& random) { change_a_slot(ring, random, page.ref()); });
  const Beside events([&](Random&) { ring.port().notify(); });
  const Beside states(
      [writer = std::make_shared<Disk>(disk.number())](Random&) { writer->set(State::connected); });
  while (std::chrono::steady_clock::now() < end) {
    fill_ring(ring, page.ref());
    ring.push();
    ring.take(kRingEntries);
  }
}

void spin(int seconds) {
  const auto idle = [](Random& random) { random.discard(1000); };
  const Beside first(idle);
  const Beside second(idle);
  const Beside third(idle);
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
}

}  // namespace hostile
