#include "backend/platform/libxen/event_channels.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

namespace xenblk::libxen {

// The device reads and writes arrays of port numbers (Linux drivers/xen/evtchn.c, evtchn_read and
// evtchn_write), which is what an array of EventPort is.
static_assert(sizeof(EventPort) == sizeof(evtchn_port_t));

Expected<std::unique_ptr<EventChannels>> LibxenEventChannels::open() {
  auto logger = make_quiet_logger();
  Handle handle(xenevtchn_open(logger.get(), 0));
  if (!handle) {
    return fail(Errc::unavailable,
                "/dev/xen/evtchn cannot be opened: is this dom0 of a Xen host? "
                "(modprobe xen-evtchn)",
                errno);
  }
  // The library's own call reads one port a system call and blocks; the descriptor itself gives all
  // of them.
  const int descriptor = xenevtchn_fd(handle.get());
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_os(errno, "/dev/xen/evtchn: O_NONBLOCK");
  }
  return std::unique_ptr<EventChannels>(
      new LibxenEventChannels(std::move(logger), std::move(handle), descriptor));
}

Expected<EventPort> LibxenEventChannels::bind(DomainId peer, EventPort remote) {
  const auto local = xenevtchn_bind_interdomain(handle_.get(), peer.n, remote.n);
  if (local >= 0) {
    const EventPort port{static_cast<std::uint32_t>(local)};
    if (bound_.size() <= port.n) bound_.resize(port.n + 1);
    bound_[port.n] = true;
    if (steering_) steering_->steer_new();
    return port;
  }
  return fail(Errc::bad_port,
              fmt::format("binding event channel {} of domain {}", remote.n, peer.n), errno);
}

void LibxenEventChannels::unbind(EventPort local) noexcept {
  [[maybe_unused]] const int failed = xenevtchn_unbind(handle_.get(), local.n);
  assert(failed == 0);
  bound_[local.n] = false;
  if (steering_) steering_->forget();
}

void LibxenEventChannels::notify(EventPort local) noexcept {
  // Fails only for a port that is not ours; a peer that is gone does not matter.
  [[maybe_unused]] const int failed = xenevtchn_notify(handle_.get(), local.n);
  assert(failed == 0);
}

std::size_t LibxenEventChannels::take_pending(std::span<EventPort> out) noexcept {
  // The kernel refuses to read more than a page at once.
  out = out.first(std::min<std::size_t>(out.size(), kPageBytes / sizeof(EventPort)));
  std::size_t kept = 0;
  while (kept == 0 && !out.empty()) {
    const auto length = ::read(descriptor_, out.data(), out.size_bytes());
    if (length <= 0) break;
    kept = keep_bound(out.first(static_cast<std::size_t>(length) / sizeof(EventPort)));
  }
  return kept;
}

// The kernel's queue still holds events of ports that have been unbound since.
std::size_t LibxenEventChannels::keep_bound(std::span<EventPort> ports) const {
  const auto stale = std::ranges::remove_if(
      ports, [&](EventPort port) { return port.n >= bound_.size() || !bound_[port.n]; });
  return ports.size() - stale.size();
}

void LibxenEventChannels::unmask(std::span<const EventPort> ports) noexcept {
  while (!ports.empty()) {
    const auto batch =
        ports.first(std::min<std::size_t>(ports.size(), kPageBytes / sizeof(EventPort)));
    [[maybe_unused]] const auto length =
        ::write(descriptor_, batch.data(), batch.size() * sizeof(EventPort));
    assert(length == static_cast<ssize_t>(batch.size() * sizeof(EventPort)));
    ports = ports.subspan(batch.size());
  }
}

}  // namespace xenblk::libxen
