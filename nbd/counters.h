// What an export has done. Written by its thread alone; any thread reads.
#pragma once

#include <atomic>
#include <cstdint>

namespace xenblk::nbd {

struct ExportCounters {
  std::atomic<std::uint32_t> connections = 0;  // open now
  std::atomic<std::uint64_t> connections_total = 0;
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> bytes_in = 0;  // over the sockets
  std::atomic<std::uint64_t> bytes_out = 0;
};

template <class T>
void add(std::atomic<T>& counter, T more) noexcept {
  counter.store(static_cast<T>(counter.load(std::memory_order_relaxed) + more),
                std::memory_order_relaxed);
}

}  // namespace xenblk::nbd
