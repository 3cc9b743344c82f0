// One simulated guest of the demo: writes a disk through its own frontend, flushes, reads back and
// verifies, then again after the disk was detached and attached anew.
#pragma once

#include <cstdint>
#include <string>

#include "backend/platform/loopback/frontend.h"
#include "backend/platform/loopback/toolstack.h"

namespace xenblk::demo {

struct GuestPlan {
  DomainId domain;
  std::string image;  // as in XenStore's `params`
  blkif::Layout layout = blkif::Layout::native;
  std::uint32_t ring_pages = 1;
  std::uint32_t queues = 1;
  loopback::RingKeys keys = loopback::RingKeys::ring_ref;
  std::uint64_t disk_bytes = 0;
};

struct GuestReport {
  std::uint64_t bytes_verified = 0;
  double writes_per_second = 0;
  double reads_per_second = 0;
  std::string failure;  // empty: everything went well
};

// Blocks until the guest is done; its disk is attached and removed by it.
GuestReport run_guest(loopback::LoopbackXen& xen, const GuestPlan& plan);

}  // namespace xenblk::demo
