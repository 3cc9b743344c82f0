#include "backend/guest_limits.h"

#include <fmt/format.h>

#include <vector>

#include "backend/backend.h"

namespace xenblk::backend {

std::shared_ptr<GuestLimit> GuestLimits::of(DomainId guest) {
  std::erase_if(guests_, [](const auto& one) { return one.second.expired(); });
  auto& known = guests_[guest];
  auto limit = known.lock();
  if (!limit) known = limit = std::make_shared<GuestLimit>();
  return limit;
}

Expected<void> Backend::set_guest_limits(DomainId guest, const ringio::RateLimits& limits) {
  std::vector<Device*> noted;
  Error none{Errc::not_found, 0, fmt::format("guest {} has no disks here", guest.n)};
  for (const auto& [key, device] : devices_) {
    if (key.domain != guest) continue;
    const auto done = device->note_guest_limits(limits);
    if (done) {
      noted.push_back(device.get());
      continue;
    }
    none = done.error();
    // One that is just being removed needs none; without the others nothing shall have changed.
    if (none.code == Errc::refused) continue;
    const auto before = device->status().guest_limits;
    for (auto* other : noted) static_cast<void>(other->note_guest_limits(before));
    return std::unexpected(std::move(none));
  }
  if (noted.empty()) return std::unexpected(std::move(none));
  const auto limit = guest_limits_.of(guest);
  limit->known = true;
  limit->limiter.set(limits);
  for (auto* device : noted) device->wake();
  return {};
}

}  // namespace xenblk::backend
