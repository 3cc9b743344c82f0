#include "backend/platform/loopback/event_hub.h"

#include <algorithm>
#include <utility>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {

EventPort EventHub::allocate_unbound(Endpoint& endpoint, DomainId remote) {
  const std::scoped_lock lock(mutex_);
  return add(endpoint, {.endpoint = &endpoint, .remote_domain = remote});
}

Expected<EventPort> EventHub::bind(Endpoint& endpoint, DomainId peer, EventPort remote) {
  if (faults_.refuse_bind.hit()) return fail(Errc::bad_port, "bind refused by the test", EINVAL);
  const std::scoped_lock lock(mutex_);
  const auto domain = domains_.find(peer);
  if (domain == domains_.end()) return fail(Errc::bad_port, "no such domain", ESRCH);
  const auto found = domain->second.find(remote.n);
  if (found == domain->second.end() || found->second.remote_port.n != 0 ||
      found->second.remote_domain != endpoint.domain()) {
    return fail(Errc::bad_port, "not an unbound port for this domain", EINVAL);
  }
  const EventPort local =
      add(endpoint, {.endpoint = &endpoint, .remote_domain = peer, .remote_port = remote});
  found->second.remote_port = local;
  // An event may have been sent while nobody was bound; Xen raises the new port for that reason.
  wake(raise(local, own_port(endpoint, local)));
  return local;
}

void EventHub::close(Endpoint& endpoint, EventPort port) {
  const std::scoped_lock lock(mutex_);
  own_port(endpoint, port);
  erase(endpoint.domain(), port);
}

void EventHub::close_all(Endpoint& endpoint) {
  const std::scoped_lock lock(mutex_);
  std::vector<EventPort> own;
  for (const auto& [number, port] : domains_[endpoint.domain()]) {
    if (port.endpoint == &endpoint) own.push_back({number});
  }
  for (const EventPort port : own) erase(endpoint.domain(), port);
}

void EventHub::close_domain(DomainId domain) {
  const std::scoped_lock lock(mutex_);
  while (!domains_[domain].empty()) erase(domain, {domains_[domain].begin()->first});
  domains_.erase(domain);
}

bool EventHub::notify(Endpoint& endpoint, EventPort port) {
  std::shared_ptr<SignalFd> signal;
  {
    const std::scoped_lock lock(mutex_);
    const Port* const own = find(endpoint, port);
    if (own == nullptr) return false;
    Port* const peer = peer_of(*own);
    if (peer == nullptr || faults_.lost_events.take()) return true;
    signal = raise(own->remote_port, *peer);
    if (faults_.doubled_events.take()) wake(raise(own->remote_port, *peer));
  }
  wake(signal);
  return true;
}

std::size_t EventHub::take_pending(Endpoint& endpoint, std::span<EventPort> out) {
  const std::scoped_lock lock(mutex_);
  auto& pending = endpoint.pending_;
  const auto count = std::min(out.size(), pending.size());
  std::copy_n(pending.begin(), count, out.begin());
  pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(count));
  if (pending.empty()) endpoint.signal_->lower();
  return count;
}

void EventHub::unmask(Endpoint& endpoint, std::span<const EventPort> ports) {
  const std::scoped_lock lock(mutex_);
  for (const EventPort number : ports) {
    Port& port = own_port(endpoint, number);
    const auto& queue = endpoint.pending_;
    require(port.masked && std::find(queue.begin(), queue.end(), number) == queue.end(),
            "only a port that take_pending has given is unmasked");
    unmask(number, port);
  }
}

void EventHub::unmask_if_open(Endpoint& endpoint, EventPort number) {
  const std::scoped_lock lock(mutex_);
  Port* const port = find(endpoint, number);
  if (port != nullptr) unmask(number, *port);
}

bool EventHub::is_bound(Endpoint& endpoint, EventPort port) {
  const std::scoped_lock lock(mutex_);
  const Port* const own = find(endpoint, port);
  return own != nullptr && own->remote_port.n != 0;
}

std::size_t EventHub::count(const Endpoint& endpoint) const {
  const std::scoped_lock lock(mutex_);
  const auto domain = domains_.find(endpoint.domain());
  if (domain == domains_.end()) return 0;
  return static_cast<std::size_t>(std::ranges::count_if(
      domain->second, [&](const auto& entry) { return entry.second.endpoint == &endpoint; }));
}

EventHub::Port& EventHub::own_port(Endpoint& endpoint, EventPort port) {
  Port* const found = find(endpoint, port);
  require(found != nullptr, "a port is used only through the handle that bound it");
  return *found;
}

EventHub::Port* EventHub::find(Endpoint& endpoint, EventPort port) {
  auto& ports = domains_[endpoint.domain()];
  const auto found = ports.find(port.n);
  if (found == ports.end() || found->second.endpoint != &endpoint) return nullptr;
  return &found->second;
}

EventHub::Port* EventHub::peer_of(const Port& port) {
  if (port.remote_port.n == 0) return nullptr;
  return &domains_.at(port.remote_domain).at(port.remote_port.n);
}

// The lowest free number, as Xen takes it: a stale port number soon names another channel.
EventPort EventHub::add(Endpoint& endpoint, Port port) {
  auto& ports = domains_[endpoint.domain()];
  std::uint32_t number = 1;
  for (const auto& entry : ports) {
    if (entry.first != number) break;
    ++number;
  }
  ports.emplace(number, port);
  return {number};
}

void EventHub::erase(DomainId domain, EventPort number) {
  auto& ports = domains_.at(domain);
  const Port port = ports.at(number.n);
  if (Port* const peer = peer_of(port)) peer->remote_port = {0};
  auto& queue = port.endpoint->pending_;
  std::erase(queue, number);
  if (queue.empty()) port.endpoint->signal_->lower();
  ports.erase(number.n);
}

void EventHub::unmask(EventPort number, Port& port) {
  port.masked = false;
  if (std::exchange(port.raised_while_masked, false)) wake(raise(number, port));
}

std::shared_ptr<SignalFd> EventHub::raise(EventPort number, Port& port) {
  if (port.masked) {
    port.raised_while_masked = true;
    return {};
  }
  port.masked = true;
  port.endpoint->pending_.push_back(number);
  const auto& signal = port.endpoint->signal_;
  return signal->mark_raised() ? signal : nullptr;
}

}  // namespace xenblk::loopback
