#include "backend/platform/loopback/guest_domain.h"

#include <poll.h>

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {

GuestPort::GuestPort(EventHub& hub, DomainId own, DomainId remote)
    : hub_(hub), endpoint_(own), port_(hub.allocate_unbound(endpoint_, remote)) {}

bool GuestPort::take() {
  EventPort taken;
  if (hub_.take_pending(endpoint_, {&taken, 1}) == 0) return false;
  hub_.unmask_if_open(endpoint_, taken);
  return true;
}

bool GuestPort::wait(std::uint32_t timeout_ms) {
  pollfd wanted{.fd = fd(), .events = POLLIN, .revents = 0};
  if (::poll(&wanted, 1, static_cast<int>(timeout_ms)) <= 0) return false;
  return take();
}

std::unique_ptr<XenStore> GuestDomain::open_store() {
  return xen_.open_store_as(id_);
}

}  // namespace xenblk::loopback
