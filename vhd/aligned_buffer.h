// A zeroed piece of memory that direct I/O accepts. Owns it; move-only. Any thread.
#pragma once

#include <sys/mman.h>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "xenblk/units.h"

namespace xenblk::vhd {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::uint64_t bytes) : bytes_(bytes) {
    const auto rounded = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    memory_ = {rounded < kDataBytesMin ? from_heap(rounded) : mapped(rounded), Free{rounded}};
  }

  std::byte* data() const { return memory_.get(); }
  std::uint64_t size() const { return bytes_; }
  std::span<std::byte> all() const { return {memory_.get(), bytes_}; }
  std::span<std::byte> first(std::uint64_t bytes) const {
    assert(bytes <= bytes_);
    return {memory_.get(), bytes};
  }

 private:
  // From here on a buffer may hold what guests wrote, and gets a mapping of its own that stays out
  // of core files. Smaller ones are for metadata.
  static constexpr std::uint64_t kDataBytesMin = 64 * 1024;

  static std::byte* from_heap(std::uint64_t bytes) {
    auto* const memory = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes));
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    return memory;
  }

  static std::byte* mapped(std::uint64_t bytes) {
    void* const memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    (void)::madvise(memory, bytes, MADV_DONTDUMP);
    return static_cast<std::byte*>(memory);
  }

  struct Free {
    std::uint64_t bytes;  // whole pages
    void operator()(std::byte* memory) const {
      if (bytes < kDataBytesMin) {
        std::free(memory);
      } else {
        ::munmap(memory, bytes);
      }
    }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::uint64_t bytes_ = 0;
};

}  // namespace xenblk::vhd
