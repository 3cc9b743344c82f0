// States and nodes that change as a guest pleases.
#include <random>

#include "tests/xen/hostile/cases.h"

namespace hostile {
namespace {

// Large writes, all that a ring holds.
void fill(Ring& ring, const Pages& page) {
  const std::vector<Piece> pieces(BLKIF_MAX_SEGMENTS_PER_REQUEST, Piece{page.ref()});
  for (std::uint32_t i = 0; i < kRingEntries; ++i) {
    ring.put(transfer(BLKIF_OP_WRITE, i * 88ULL, pieces));
  }
  ring.push();
}

std::string state_that_is_none(Disk& disk, const std::string& text) {
  const Connection connection(disk);
  disk.set_state_text(text);
  disk.await({State::closing});
  return disk.offered("hotplug-error");
}

std::string toggled_states(Disk& disk) {
  std::mt19937 random(6);
  Connection connection(disk);
  const Pages page;
  fill(connection.ring, page);
  for (int i = 0; i < 400; ++i) {
    disk.set_state_text(std::to_string(random() % 10));
    connection.ring.port().notify();
  }
  connection.close();
  return "offered again";
}

std::string fast_reconnects(Disk& disk) {
  const Pages page;
  for (int round = 0; round < 20; ++round) {
    Connection connection(disk);
    fill(connection.ring, page);
    connection.close();
  }
  return "offered again";
}

std::string begins_again(Disk& disk) {
  const Pages page;
  Connection connection(disk);
  fill(connection.ring, page);
  disk.set(State::initialising);
  disk.await({State::init_wait});
  return "offered again";
}

std::string closes_in_flight(Disk& disk) {
  const Pages page;
  Connection connection(disk);
  fill(connection.ring, page);
  disk.set(State::closing);
  disk.set(State::closed);
  disk.await({State::closed});
  return "closed";
}

std::string closes_twice(Disk& disk) {
  Connection connection(disk);
  for (int round = 0; round < 3; ++round) {
    disk.set(State::closing);
    disk.set(State::closed);
  }
  disk.await({State::closed});
  disk.set(State::closing);
  disk.set(State::closed);
  disk.await({State::closed});
  return "closed";
}

// Its nodes go, and are back as if they had just been made.
std::string vanishes(Disk& disk) {
  const Pages page;
  Connection connection(disk);
  fill(connection.ring, page);
  disk.vanish();
  disk.await({State::closed});
  disk.reappear();
  connection.close();
  return "closed, and offered again";
}

std::string many_nodes(Disk& disk) {
  Connection connection(disk);
  const Pages page;
  const std::string value(1800, '\xfe');
  Tally tally;
  for (int i = 0; i < 100; ++i) {
    disk.set("junk/" + std::to_string(i), value);
    if (i % 10 == 0) tally.add(connection.ring.ask(transfer(BLKIF_OP_READ, 0, {{page.ref()}})));
  }
  disk.remove("junk");
  connection.close();
  return tally.text();
}

constexpr Case kCases[] = {
    {"a-state-that-is-none", "the frontend's state is \"connected, honestly\"",
     [](Disk& disk) { return state_that_is_none(disk, "connected, honestly"); }},
    {"a-state-that-frontends-never-have", "the frontend's state is Reconfiguring",
     [](Disk& disk) { return state_that_is_none(disk, "7"); }},
    {"a-huge-state", "the frontend's state is \"????????????????????????????????????????...\"",
     [](Disk& disk) { return state_that_is_none(disk, std::string(1900, '\xff')); }},
    {"a-frontend-that-toggles-its-state", "offered again", toggled_states},
    {"connects-and-closes-as-fast-as-it-can", "offered again", fast_reconnects},
    {"begins-again-without-closing", "offered again", begins_again},
    {"closes-with-requests-in-flight", "closed", closes_in_flight},
    {"closes-twice", "closed", closes_twice},
    {"vanishes-with-requests-in-flight", "closed, and offered again", vanishes},
    {"nodes-without-number", "10 okay", many_nodes},
};

}  // namespace

std::span<const Case> state_cases() {
  return kCases;
}

}  // namespace hostile
