// The memory of one simulated guest: pages of a memfd, so that a backend can map any of them
// contiguously and read-only where the grant says so, as the MMU would enforce it.
//
// There are three views of every page, at three addresses: the guest's own, the backend's mapping,
// and the hypervisor's (for grant copies). A race between guest and backend is legal on Xen and
// hostile guests do it on purpose; separate addresses keep ThreadSanitizer from taking it for a bug
// of ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "xenblk/units.h"

namespace xenblk::loopback {

// A guest's page number.
struct Frame {
  std::uint32_t n = 0;
};

// Pinned; any thread.
class GuestMemory {
 public:
  explicit GuestMemory(std::uint32_t pages);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  // Zeroed pages, contiguous in the guest's view. Running out is the test's mistake.
  std::span<std::byte> allocate(std::uint32_t pages);
  void release(std::span<std::byte> pages);

  Frame frame_of(const std::byte* guest_address) const;
  std::byte* hypervisor_view(Frame frame) const;
  // Replaces the mapping at `address` by this page.
  void map_at(std::byte* address, Frame frame, Access access) const;

 private:
  std::size_t bytes() const { return used_.size() * std::size_t{kPageBytes}; }
  std::byte* map_all() const;

  std::mutex mutex_;
  std::vector<bool> used_;  // under mutex_
  int fd_;
  std::byte* guest_view_;
  std::byte* hypervisor_view_;
};

}  // namespace xenblk::loopback
