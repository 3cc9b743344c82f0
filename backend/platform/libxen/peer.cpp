#include "backend/platform/libxen/peer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xen/gntalloc.h>

#include <cassert>
#include <cerrno>

namespace xenblk::libxen {

Expected<std::unique_ptr<Peer>> Peer::open() {
  const int gntalloc = ::open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
  if (gntalloc < 0) {
    return fail(Errc::unavailable, "/dev/xen/gntalloc cannot be opened (modprobe xen-gntalloc)",
                errno);
  }
  auto logger = make_quiet_logger();
  xenevtchn_handle* const events = xenevtchn_open(logger.get(), 0);
  if (events == nullptr) {
    const int error = errno;
    ::close(gntalloc);
    return fail(Errc::unavailable, "/dev/xen/evtchn cannot be opened (modprobe xen-evtchn)", error);
  }
  const int fd = xenevtchn_fd(events);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return std::unique_ptr<Peer>(new Peer(gntalloc, std::move(logger), events));
}

Peer::Peer(int gntalloc, QuietLogger logger, xenevtchn_handle* events)
    : gntalloc_(gntalloc), logger_(std::move(logger)), events_(events) {}

Peer::~Peer() {
  for (const auto& [address, index] : allocations_) {
    ::munmap(address, kPageBytes);
    ioctl_gntalloc_dealloc_gref release{.index = index, .count = 1};
    ::ioctl(gntalloc_, IOCTL_GNTALLOC_DEALLOC_GREF, &release);
  }
  ::close(gntalloc_);
}

Expected<Peer::Page> Peer::grant_page(Access access) {
  ioctl_gntalloc_alloc_gref request{};
  request.domid = domain().n;
  request.flags = access == Access::read_write ? GNTALLOC_FLAG_WRITABLE : 0;
  request.count = 1;
  if (::ioctl(gntalloc_, IOCTL_GNTALLOC_ALLOC_GREF, &request) != 0) {
    return fail_os(errno, "granting a page with /dev/xen/gntalloc");
  }
  void* const address = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, gntalloc_,
                               static_cast<off_t>(request.index));
  if (address == MAP_FAILED) return fail_os(errno, "mapping a page of /dev/xen/gntalloc");
  allocations_.push_back({static_cast<std::byte*>(address), request.index});
  return Page{{request.gref_ids[0]}, static_cast<std::byte*>(address)};
}

Expected<EventPort> Peer::allocate_port() {
  const auto port = xenevtchn_bind_unbound_port(events_.get(), domain().n);
  if (port < 0) return fail(Errc::bad_port, "allocating an event channel", errno);
  return EventPort{static_cast<std::uint32_t>(port)};
}

void Peer::notify(EventPort port) {
  [[maybe_unused]] const int failed = xenevtchn_notify(events_.get(), port.n);
  assert(failed == 0);
}

bool Peer::receives(EventPort port, int timeout_ms) {
  read_events();
  pollfd wanted{.fd = xenevtchn_fd(events_.get()), .events = POLLIN, .revents = 0};
  while (!pending_.contains(port) && ::poll(&wanted, 1, timeout_ms) == 1) read_events();
  return pending_.erase(port) > 0;
}

// Unmasks what it has read at once: this end needs no protection from the other.
void Peer::read_events() {
  const int fd = xenevtchn_fd(events_.get());
  EventPort port;
  while (::read(fd, &port, sizeof(port)) == static_cast<ssize_t>(sizeof(port))) {
    pending_.insert(port);
    [[maybe_unused]] const auto written = ::write(fd, &port, sizeof(port));
    assert(written == static_cast<ssize_t>(sizeof(port)));
  }
}

}  // namespace xenblk::libxen
