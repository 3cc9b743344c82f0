// What one backend domain holds and has done, so that a test can assert that nothing is left and
// that calls were batched. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace xenblk::loopback {

struct Usage {
  // Held now.
  std::atomic<std::uint64_t> grant_tables = 0;
  std::atomic<std::uint64_t> event_handles = 0;
  std::atomic<std::uint64_t> stores = 0;
  std::atomic<std::uint64_t> mapped_pages = 0;
  std::atomic<std::uint64_t> bound_ports = 0;
  std::atomic<std::uint64_t> watches = 0;
  std::atomic<std::uint64_t> transactions = 0;
  // Done since the start.
  std::atomic<std::uint64_t> map_calls = 0;
  std::atomic<std::uint64_t> copy_calls = 0;
  std::atomic<std::uint64_t> copy_segments = 0;
  std::atomic<std::uint64_t> notifies = 0;

  bool nothing_held() const {
    return mapped_pages == 0 && bound_ports == 0 && watches == 0 && transactions == 0;
  }
};

}  // namespace xenblk::loopback
