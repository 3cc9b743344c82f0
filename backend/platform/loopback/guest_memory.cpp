#include "backend/platform/loopback/guest_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {

GuestMemory::GuestMemory(std::uint32_t pages)
    : used_(pages, false), fd_(::memfd_create("xenblk-guest", MFD_CLOEXEC)) {
  require(fd_ >= 0, "the system has room for a memfd");
  require(::ftruncate(fd_, static_cast<off_t>(bytes())) == 0, "a guest's memory can be sized");
  guest_view_ = map_all();
  hypervisor_view_ = map_all();
}

GuestMemory::~GuestMemory() {
  ::munmap(guest_view_, bytes());
  ::munmap(hypervisor_view_, bytes());
  ::close(fd_);
}

std::byte* GuestMemory::map_all() const {
  void* const address = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  require(address != MAP_FAILED, "a guest's memory can be mapped");
  return static_cast<std::byte*>(address);
}

std::span<std::byte> GuestMemory::allocate(std::uint32_t pages) {
  const std::scoped_lock lock(mutex_);
  const auto first = std::search_n(used_.begin(), used_.end(), static_cast<long>(pages), false);
  require(pages > 0 && first != used_.end(), "a guest has memory left; create it with more pages");
  std::fill_n(first, pages, true);
  const auto index = static_cast<std::size_t>(first - used_.begin());
  const std::span found(guest_view_ + index * kPageBytes, std::size_t{pages} * kPageBytes);
  std::memset(found.data(), 0, found.size());
  return found;
}

void GuestMemory::release(std::span<std::byte> pages) {
  const std::scoped_lock lock(mutex_);
  const auto count = pages.size() / kPageBytes;
  for (std::size_t index = frame_of(pages.data()).n, end = index + count; index < end; ++index) {
    require(used_.at(index), "a guest's page is released once");
    used_[index] = false;
  }
}

Frame GuestMemory::frame_of(const std::byte* guest_address) const {
  const auto offset = static_cast<std::size_t>(guest_address - guest_view_);
  require(offset < bytes() && offset % kPageBytes == 0,
          "the address is that of a page of the guest");
  return {static_cast<std::uint32_t>(offset / kPageBytes)};
}

std::byte* GuestMemory::hypervisor_view(Frame frame) const {
  return hypervisor_view_ + std::size_t{frame.n} * kPageBytes;
}

void GuestMemory::map_at(std::byte* address, Frame frame, Access access) const {
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  const auto offset = static_cast<off_t>(std::size_t{frame.n} * kPageBytes);
  void* const mapped = ::mmap(address, kPageBytes, protection, MAP_SHARED | MAP_FIXED, fd_, offset);
  require(mapped == address, "the process has room for one more mapping");
}

}  // namespace xenblk::loopback
