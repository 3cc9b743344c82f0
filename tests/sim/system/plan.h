// What a run of the simulator has in it, and what came of it.
#pragma once

#include <cstdint>
#include <string>

namespace xenblk::sim {

// Bugs that the tests of the simulator put between the parts: each must be found.
enum class Sabotage : std::uint8_t {
  none,
  flush_dropped,    // a flush is answered and not done
  request_lost,     // one request in a hundred is never answered by the image
  read_too_early,   // a page is copied to the guest only after its request was answered
  write_misplaced,  // one write in fifty lands a sector too early
  answered_twice,   // the last response of a pass is there a second time
  fetched_twice,    // a page's grant is read again from the ring's slot after it was checked
  unmapped_late,    // pages of a request stay mapped until after its response
  slot_leaked,      // one request slot in fifty is never given back
};

struct SystemPlan {
  std::uint64_t seed = 0;
  Sabotage sabotage = Sabotage::none;
  bool verbose = false;  // the daemon's log, to the terminal
};

struct SystemResult {
  std::string wrong;  // empty when nothing was
  std::uint64_t trace = 0;
  std::uint64_t requests = 0;  // of honest guests, answered
  std::uint64_t refused = 0;   // of these: wrong on purpose
  std::uint64_t failed = 0;    // of these: for a fault
  std::uint64_t abuses = 0;    // things that hostile guests did
  std::uint64_t crashes = 0;   // moments at which the storage was looked at as a crash leaves it
  std::uint64_t restarts = 0;
  std::uint64_t kills = 0;  // of the daemon, each followed by the next one
  std::uint64_t connections = 0;

  void add(const SystemResult& more) {
    requests += more.requests;
    refused += more.refused;
    failed += more.failed;
    abuses += more.abuses;
    crashes += more.crashes;
    restarts += more.restarts;
    kills += more.kills;
    connections += more.connections;
  }
};

// A whole host from one seed, on one thread and in virtual time: the control plane, workers,
// images on simulated disks, the loopback Xen with its faults, guests that verify what they read
// and guests that keep no rule. Once they have all ended nothing may be left of them.
SystemResult run_system(const SystemPlan& plan);

}  // namespace xenblk::sim
