// Takes numbers from a fuzzer's bytes; zeroes once they are used up.
#pragma once

#include <cstdint>
#include <cstring>

#include "tests/fuzz/targets.h"

namespace xenblk::fuzz {

class Reader {
 public:
  explicit Reader(Input input) : left_(input) {}

  bool empty() const { return left_.empty(); }
  std::uint8_t u8() { return take<std::uint8_t>(); }
  std::uint16_t u16() { return take<std::uint16_t>(); }
  std::uint32_t u32() { return take<std::uint32_t>(); }
  std::uint64_t u64() { return take<std::uint64_t>(); }
  // Below `n`, which is not 0.
  std::uint64_t below(std::uint64_t n) {
    return (n <= 0x100 ? u8() : n <= 0x10000 ? u16() : u64()) % n;
  }
  Input bytes(std::size_t n) {
    const auto taken = left_.first(std::min(n, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  Input rest() { return bytes(left_.size()); }

 private:
  template <class T>
  T take() {
    const auto from = bytes(sizeof(T));
    T value = 0;
    if (!from.empty()) std::memcpy(&value, from.data(), from.size());
    return value;
  }

  Input left_;
};

}  // namespace xenblk::fuzz
