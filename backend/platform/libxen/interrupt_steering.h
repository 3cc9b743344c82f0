// Has the interrupts of event channels delivered to one CPU. The kernel spreads them over all CPUs,
// and nothing tells which interrupt a port has; but each bears the name of the thread that opened
// the device (Linux drivers/xen/evtchn.c, evtchn_open), as a directory under /proc/irq.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace xenblk::libxen {

// Pinned; one thread.
class InterruptSteering {
 public:
  // For the event channels that this thread has opened under its present name. `directory` stands
  // in for /proc/irq.
  explicit InterruptSteering(std::uint32_t cpu, std::string directory = "/proc/irq");

  // Those that were not there at the last call. What the system does not allow stays as it is.
  void steer_new();
  // One of them is gone and its number may be another's next: all are steered again.
  void forget() noexcept { steered_.clear(); }

 private:
  std::string cpu_;
  std::string directory_;
  std::string name_;
  std::set<std::string> steered_;
};

}  // namespace xenblk::libxen
