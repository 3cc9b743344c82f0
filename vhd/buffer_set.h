// Buffers of one size that direct I/O accepts. None takes memory before it is touched, so what a
// busy image needs costs an idle one nothing; and no request has to allocate. Owns them. Any
// thread.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "xenblk/units.h"

namespace xenblk::vhd {

class BufferSet {
 public:
  // Zeroes. Throws std::bad_alloc.
  BufferSet(std::size_t count, std::uint64_t bytes);
  ~BufferSet();
  BufferSet(const BufferSet&) = delete;
  BufferSet& operator=(const BufferSet&) = delete;

  std::span<std::byte> operator[](std::size_t i) const {
    assert(i < count_);
    return {memory_ + i * stride_, bytes_};
  }

 private:
  std::size_t total_bytes() const { return count_ * stride_; }

  const std::size_t count_;
  const std::uint64_t bytes_;
  const std::size_t stride_;
  std::byte* memory_ = nullptr;
};

}  // namespace xenblk::vhd
