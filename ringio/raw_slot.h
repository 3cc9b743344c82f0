// The private copy of one ring slot. What a guest wrote is looked at only here: the slot itself may
// change while we look (the class of XSA-155).
#pragma once

#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "xenblk/blkif.h"

namespace xenblk::ringio {

// The layouts are little-endian as this machine is; a big-endian build would have to swap here.
static_assert(std::endian::native == std::endian::little);

struct RawSlot {
  static constexpr std::size_t kWords = blkif::kMaxSlotBytes / sizeof(std::uint32_t);
  std::array<std::uint32_t, kWords> words = {};

  // Fields may straddle words: in the x86_32 layout a u64 is aligned to 4 bytes only.
  template <class T>
  T get(std::size_t offset) const {
    assert(offset + sizeof(T) <= sizeof(words));
    T value;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(words.data()) + offset, sizeof(T));
    return value;
  }
};
static_assert(sizeof(RawSlot) == blkif::kMaxSlotBytes);

}  // namespace xenblk::ringio
