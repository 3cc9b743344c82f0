// Big-endian numbers in a span of bytes. Pure; the caller keeps the span long enough.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace xenblk::vhd {

template <std::unsigned_integral T>
T load_big_endian(std::span<const std::byte> bytes, std::size_t offset) {
  assert(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[offset + i]);
  }
  return static_cast<T>(value);
}

template <std::unsigned_integral T>
void store_big_endian(std::span<std::byte> bytes, std::size_t offset, T value) {
  assert(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset);
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes[offset + i] = static_cast<std::byte>(value >> (8 * (sizeof(T) - 1 - i)));
  }
}

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}

constexpr std::uint64_t divide_up(std::uint64_t n, std::uint64_t unit) {
  return n / unit + (n % unit == 0 ? 0 : 1);
}

}  // namespace xenblk::vhd
