// A zeroed piece of memory that direct I/O accepts. Owns it; move-only. Any thread.
#pragma once

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
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, rounded)));
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0, rounded);
  }

  std::byte* data() const { return memory_.get(); }
  std::uint64_t size() const { return bytes_; }
  std::span<std::byte> all() const { return {memory_.get(), bytes_}; }
  std::span<std::byte> first(std::uint64_t bytes) const {
    assert(bytes <= bytes_);
    return {memory_.get(), bytes};
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::uint64_t bytes_ = 0;
};

}  // namespace xenblk::vhd
