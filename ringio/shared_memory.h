// Access to memory that a guest can write at any moment. Every access is one relaxed atomic load or
// store of a fixed width: the compiler can neither repeat a load (double fetch) nor tear or widen a
// store. Bytes of shared memory are never touched in any other way.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace xenblk::ringio {

template <class T>
std::atomic_ref<T> shared(std::byte* base, std::size_t offset) {
  static_assert(std::atomic_ref<T>::is_always_lock_free);
  std::byte* address = base + offset;
  assert(reinterpret_cast<std::uintptr_t>(address) % std::atomic_ref<T>::required_alignment == 0);
  return std::atomic_ref<T>(*reinterpret_cast<T*>(address));
}

template <class T>
T load_shared(std::byte* base, std::size_t offset) {
  return shared<T>(base, offset).load(std::memory_order_relaxed);
}

template <class T>
void store_shared(std::byte* base, std::size_t offset, T value) {
  shared<T>(base, offset).store(value, std::memory_order_relaxed);
}

}  // namespace xenblk::ringio
