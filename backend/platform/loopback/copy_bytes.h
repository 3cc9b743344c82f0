// Copies between private memory and memory that somebody else may change at the same time, as a
// guest may. The race is part of Xen's contract; under ThreadSanitizer the shared side is accessed
// atomically, byte by byte, so that it is not reported, while a race on the private side still is.
#pragma once

#include <cstddef>
#include <cstring>

namespace xenblk::loopback {

inline void copy_from_shared(std::byte* to, const std::byte* shared, std::size_t bytes) {
#if defined(__SANITIZE_THREAD__)
  const auto* const bytes_at = reinterpret_cast<const unsigned char*>(shared);
  for (std::size_t i = 0; i < bytes; ++i) {
    to[i] = std::byte{__atomic_load_n(bytes_at + i, __ATOMIC_RELAXED)};
  }
#else
  std::memcpy(to, shared, bytes);
#endif
}

inline void copy_to_shared(std::byte* shared, const std::byte* from, std::size_t bytes) {
#if defined(__SANITIZE_THREAD__)
  auto* const bytes_at = reinterpret_cast<unsigned char*>(shared);
  for (std::size_t i = 0; i < bytes; ++i) {
    __atomic_store_n(bytes_at + i, std::to_integer<unsigned char>(from[i]), __ATOMIC_RELAXED);
  }
#else
  std::memcpy(shared, from, bytes);
#endif
}

}  // namespace xenblk::loopback
