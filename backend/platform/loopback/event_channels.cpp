#include "backend/platform/loopback/event_channels.h"

namespace xenblk::loopback {

LoopbackEventChannels::LoopbackEventChannels(EventHub& hub, Usage& usage, DomainId own)
    : hub_(hub), usage_(usage), endpoint_(own) {
  ++usage_.event_handles;
}

LoopbackEventChannels::~LoopbackEventChannels() {
  usage_.bound_ports -= hub_.count(endpoint_);
  hub_.close_all(endpoint_);
  --usage_.event_handles;
}

Expected<EventPort> LoopbackEventChannels::bind(DomainId peer, EventPort remote) {
  const SingleCaller::Inside inside(caller_);
  auto bound = hub_.bind(endpoint_, peer, remote);
  if (bound) ++usage_.bound_ports;
  return bound;
}

void LoopbackEventChannels::unbind(EventPort local) noexcept {
  const SingleCaller::Inside inside(caller_);
  hub_.close(endpoint_, local);
  --usage_.bound_ports;
}

void LoopbackEventChannels::notify(EventPort local) noexcept {
  const SingleCaller::Inside inside(caller_);
  require(hub_.notify(endpoint_, local), "notify names a port that this handle bound");
  ++usage_.notifies;
}

std::size_t LoopbackEventChannels::take_pending(std::span<EventPort> out) noexcept {
  const SingleCaller::Inside inside(caller_);
  return hub_.take_pending(endpoint_, out);
}

void LoopbackEventChannels::unmask(std::span<const EventPort> ports) noexcept {
  const SingleCaller::Inside inside(caller_);
  hub_.unmask(endpoint_, ports);
}

}  // namespace xenblk::loopback
