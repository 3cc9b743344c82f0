// What a contract test needs around the implementation it tests: the other end of grants and event
// channels, and a place of its own in XenStore. One for the loopback Xen, one for a real Xen.
#pragma once

#include <poll.h>

#include <cstddef>
#include <memory>
#include <string>

#include "xenblk/xen.h"

namespace xenblk::contract {

// A page that the peer shares with us, at the address where the peer sees it.
struct PeerPage {
  GrantRef ref;
  std::byte* address = nullptr;
};

class World {
 public:
  virtual ~World() = default;
  virtual Xen& xen() = 0;
  // The domain that grants, and that allocates ports for us.
  virtual DomainId peer() const = 0;

  virtual PeerPage grant_page(Access access) = 0;
  // A reference in range that nothing was granted under, and one beyond any grant table.
  virtual GrantRef unused_ref() = 0;
  static GrantRef absurd_ref() { return {0x7ffffff0}; }

  // An unbound port of the peer that we may bind.
  virtual EventPort allocate_port() = 0;
  virtual void notify_from_peer(EventPort port) = 0;
  // Takes one event at the peer's end, waiting for it at most this long.
  virtual bool peer_receives(EventPort port, int timeout_ms) = 0;

  // An absolute path that only this test uses; does not exist yet.
  virtual std::string scratch_path() = 0;
};

// Defined once in every program that runs the contract tests.
std::unique_ptr<World> make_world();

// Long enough for a real Xen inside a software CPU on a busy machine; only failures wait that long.
inline constexpr int kPatienceMs = 20000;

inline bool becomes_readable(int fd, int timeout_ms = kPatienceMs) {
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&wanted, 1, timeout_ms) == 1 && (wanted.revents & POLLIN) != 0;
}

}  // namespace xenblk::contract
