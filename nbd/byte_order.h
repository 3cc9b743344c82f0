// Big-endian values in and out of bytes. Plain functions on memory that the caller has measured.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace xenblk::nbd {

template <class T>
constexpr T load(std::span<const std::byte> bytes, std::size_t offset) {
  assert(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>((std::uint64_t{value} << 8) | std::to_integer<T>(bytes[offset + i]));
  }
  return value;
}

// Appends to memory that is large enough: what we say has a length that we know.
class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> memory) : memory_(memory) {}

  std::size_t size() const { return used_; }

  // An integer, or an enumeration over one.
  template <class T>
  void put(T value) {
    std::uint64_t left = static_cast<std::uint64_t>(value);
    assert(sizeof(T) <= memory_.size() - used_);
    for (std::size_t i = sizeof(T); i-- > 0; left >>= 8) {
      memory_[used_ + i] = static_cast<std::byte>(left & 0xff);
    }
    used_ += sizeof(T);
  }

  void put_text(std::string_view text) {
    assert(text.size() <= memory_.size() - used_);
    std::ranges::transform(text, memory_.begin() + static_cast<std::ptrdiff_t>(used_),
                           [](char c) { return static_cast<std::byte>(c); });
    used_ += text.size();
  }

  void put_zeroes(std::size_t bytes) {
    assert(bytes <= memory_.size() - used_);
    std::ranges::fill(memory_.subspan(used_, bytes), std::byte{0});
    used_ += bytes;
  }

 private:
  std::span<std::byte> memory_;
  std::size_t used_ = 0;
};

}  // namespace xenblk::nbd
