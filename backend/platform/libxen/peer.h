// The guest's end of grants and event channels, played by dom0 itself: contract tests on a real Xen
// need no guest, because a grant to ourselves behaves like any other.
#pragma once

// The headers of Xen 4.17 do not say by themselves that their functions are C.
extern "C" {
#include <xenevtchn.h>
}

#include <cstddef>
#include <memory>
#include <set>
#include <vector>

#include "backend/platform/libxen/quiet_logger.h"
#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::libxen {

// Pinned; one thread. Ends its grants and closes its ports when destroyed.
class Peer {
 public:
  struct Page {
    GrantRef ref;
    std::byte* address = nullptr;
  };

  // Errors: unavailable, with a text that says what to load.
  static Expected<std::unique_ptr<Peer>> open();
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  static DomainId domain() { return {0}; }
  // A zeroed page granted to domain 0.
  Expected<Page> grant_page(Access access);
  // An unbound port that domain 0 may bind.
  Expected<EventPort> allocate_port();
  void notify(EventPort port);
  // Takes one event of the port, waiting for it at most this long.
  bool receives(EventPort port, int timeout_ms);

 private:
  struct Closer {
    void operator()(xenevtchn_handle* handle) const { xenevtchn_close(handle); }
  };
  struct Allocation {
    std::byte* address;
    std::uint64_t index;
  };
  Peer(int gntalloc, QuietLogger logger, xenevtchn_handle* events);
  void read_events();

  int gntalloc_;
  QuietLogger logger_;
  std::unique_ptr<xenevtchn_handle, Closer> events_;
  std::vector<Allocation> allocations_;
  std::set<EventPort> pending_;
};

}  // namespace xenblk::libxen
