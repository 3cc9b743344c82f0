// All event channels of one loopback Xen: which port is bound to which, what is pending, what is
// masked. One mutex for all: held only for the few lines of each call, never while anybody's code
// runs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backend/platform/loopback/faults.h"
#include "backend/platform/loopback/signal_fd.h"
#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::loopback {

// Where the events of some ports of one domain arrive. Owned by a handle; guarded by the hub.
class Endpoint {
 public:
  explicit Endpoint(DomainId domain) : domain_(domain) { pending_.reserve(kUsualPorts); }
  DomainId domain() const { return domain_; }
  int fd() const { return signal_->fd(); }

 private:
  friend class EventHub;
  static constexpr std::size_t kUsualPorts = 1024;
  DomainId domain_;
  std::shared_ptr<SignalFd> signal_ = std::make_shared<SignalFd>();
  std::vector<EventPort> pending_;
};

// Pinned; any thread.
class EventHub {
 public:
  explicit EventHub(Faults& faults) : faults_(faults) {}

  EventPort allocate_unbound(Endpoint& endpoint, DomainId remote);
  Expected<EventPort> bind(Endpoint& endpoint, DomainId peer, EventPort remote);
  // The peer's port, if any, is unbound afterwards and may be bound anew.
  void close(Endpoint& endpoint, EventPort port);
  void close_all(Endpoint& endpoint);
  // The domain dies: its ports vanish; those of its peers stay, unbound.
  void close_domain(DomainId domain);

  // False when the endpoint has no such port (any more).
  bool notify(Endpoint& endpoint, EventPort port);
  std::size_t take_pending(Endpoint& endpoint, std::span<EventPort> out);
  void unmask(Endpoint& endpoint, std::span<const EventPort> ports);
  // The same for a guest, whose domain may have been destroyed under it.
  void unmask_if_open(Endpoint& endpoint, EventPort port);

  bool is_bound(Endpoint& endpoint, EventPort port);
  std::size_t count(const Endpoint& endpoint) const;

 private:
  struct Port {
    Endpoint* endpoint = nullptr;
    DomainId remote_domain;
    EventPort remote_port;  // 0 while unbound
    bool masked = false;
    bool raised_while_masked = false;
  };
  using Ports = std::map<std::uint32_t, Port>;

  // All with mutex_ held.
  Port& own_port(Endpoint& endpoint, EventPort port);
  Port* find(Endpoint& endpoint, EventPort port);
  Port* peer_of(const Port& port);
  EventPort add(Endpoint& endpoint, Port port);
  void erase(DomainId domain, EventPort port);
  static void unmask(EventPort number, Port& port);
  // The signal that has to be woken, if any: it outlives its endpoint.
  [[nodiscard]] static std::shared_ptr<SignalFd> raise(EventPort number, Port& port);
  static void wake(const std::shared_ptr<SignalFd>& signal) {
    if (signal) signal->wake();
  }

  Faults& faults_;
  mutable std::mutex mutex_;
  std::map<DomainId, Ports> domains_;  // under mutex_
};

}  // namespace xenblk::loopback
