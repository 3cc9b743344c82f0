#include "tests/xen/hostile/devices.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/xen/hostile/xen_headers.h"

namespace hostile {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

const Descriptor& grants() {
  static const Descriptor device("/dev/xen/gntalloc");
  return device;
}

void write_all(int to, const void* from, std::size_t bytes) {
  if (::write(to, from, bytes) != static_cast<ssize_t>(bytes)) give_up("/dev/xen/xenbus: write");
}

void read_all(int from, void* to, std::size_t bytes) {
  for (auto* next = static_cast<char*>(to); bytes != 0;) {
    const auto length = ::read(from, next, bytes);
    if (length <= 0) give_up("/dev/xen/xenbus: read");
    next += length;
    bytes -= static_cast<std::size_t>(length);
  }
}

}  // namespace

Descriptor::Descriptor(const char* path) : number_(::open(path, O_RDWR | O_CLOEXEC)) {
  if (number_ < 0) give_up(path);
}
Descriptor::Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Pages::Pages(std::uint32_t count, Grant grant, std::uint16_t domain) {
  // The list of references follows the struct, which has room for one.
  std::vector<std::uint64_t> request(
      (sizeof(ioctl_gntalloc_alloc_gref) + count * sizeof(std::uint32_t)) / 8 + 1);
  auto* const ask = reinterpret_cast<ioctl_gntalloc_alloc_gref*>(request.data());
  ask->domid = domain;
  ask->flags = grant == Grant::read_write ? GNTALLOC_FLAG_WRITABLE : 0;
  ask->count = count;
  if (::ioctl(grants().get(), IOCTL_GNTALLOC_ALLOC_GREF, ask) != 0) give_up("granting pages");
  place_ = ask->index;
  refs_.resize(count);
  std::memcpy(
      refs_.data(),
      reinterpret_cast<const std::byte*>(ask) + offsetof(ioctl_gntalloc_alloc_gref, gref_ids),
      count * sizeof(std::uint32_t));
  void* const address = ::mmap(nullptr, count * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                               grants().get(), static_cast<off_t>(place_));
  if (address == MAP_FAILED) give_up("mapping granted pages");
  memory_ = static_cast<std::byte*>(address);
  fill(std::byte{0});
}

Pages::~Pages() {
  if (memory_ != nullptr) revoke();
}

void Pages::fill(std::byte value) const {
  std::ranges::fill(memory(), value);
}

void Pages::revoke() {
  ::munmap(std::exchange(memory_, nullptr), refs_.size() * kPageBytes);
  ioctl_gntalloc_dealloc_gref ask{.index = place_,
                                  .count = static_cast<std::uint32_t>(refs_.size())};
  ::ioctl(grants().get(), IOCTL_GNTALLOC_DEALLOC_GREF, &ask);
}

Port::Port() : device_("/dev/xen/evtchn") {
  ioctl_evtchn_bind_unbound_port ask{.remote_domain = 0};
  const int port = ::ioctl(device_.get(), IOCTL_EVTCHN_BIND_UNBOUND_PORT, &ask);
  if (port <= 0) give_up("an event channel");
  number_ = static_cast<std::uint32_t>(port);
}

void Port::notify() const {
  ioctl_evtchn_notify ask{.port = number_};
  ::ioctl(device_.get(), IOCTL_EVTCHN_NOTIFY, &ask);
}

void Port::wait(int milliseconds) const {
  pollfd watched{.fd = device_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&watched, 1, milliseconds) <= 0) return;
  std::uint32_t port = 0;
  if (::read(device_.get(), &port, sizeof port) != sizeof port) return;
  // What is read is masked until it is written back.
  if (::write(device_.get(), &port, sizeof port) != sizeof port) give_up("unmasking an event");
}

Store::Store() : device_("/dev/xen/xenbus") {}

std::optional<std::string> Store::read(const std::string& path) {
  auto reply = ask(XS_READ, path + '\0');
  if (!reply.okay) return {};
  return std::move(reply.text);
}

bool Store::write(const std::string& path, const std::string& value) {
  return ask(XS_WRITE, path + '\0' + value).okay;
}

void Store::remove(const std::string& path) {
  ask(XS_RM, path + '\0');
}

Store::Reply Store::ask(std::uint32_t type, std::string payload) {
  xsd_sockmsg header{
      .type = type, .req_id = 0, .tx_id = 0, .len = static_cast<std::uint32_t>(payload.size())};
  write_all(device_.get(), &header, sizeof header);
  write_all(device_.get(), payload.data(), payload.size());
  read_all(device_.get(), &header, sizeof header);
  std::string text(header.len, '\0');
  read_all(device_.get(), text.data(), text.size());
  return {header.type != XS_ERROR, std::move(text)};
}

}  // namespace hostile
