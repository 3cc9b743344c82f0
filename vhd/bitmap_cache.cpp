#include "vhd/bitmap_cache.h"

#include <algorithm>
#include <cassert>

namespace xenblk::vhd {
namespace {

bool bit(std::span<const std::byte> bits, std::uint64_t sector) {
  return (bits[sector / 8] & (std::byte{0x80} >> (sector % 8))) != std::byte{0};
}

}  // namespace

BitmapRun bitmap_run(std::span<const std::byte> bits, std::uint64_t sector,
                     std::uint64_t sectors_max) {
  assert(sectors_max > 0 && sector + sectors_max <= bits.size() * 8);
  const bool present = bit(bits, sector);
  const auto same_byte = present ? std::byte{0xff} : std::byte{0};
  std::uint64_t n = 1;
  while (n < sectors_max) {
    const auto next = sector + n;
    // Whole bytes at once: a block has 4096 bits, and most runs are long.
    if (next % 8 == 0 && sectors_max - n >= 8 && bits[next / 8] == same_byte) {
      n += 8;
    } else if (bit(bits, next) == present) {
      ++n;
    } else {
      break;
    }
  }
  return {present, n};
}

void set_bitmap_run(std::span<std::byte> bits, std::uint64_t sector, std::uint64_t sectors) {
  assert(sector + sectors <= bits.size() * 8);
  const auto end = sector + sectors;
  while (sector < end) {
    const bool whole_byte = sector % 8 == 0 && end - sector >= 8;
    bits[sector / 8] |= whole_byte ? std::byte{0xff} : std::byte{0x80} >> (sector % 8);
    sector += whole_byte ? 8 : 1;
  }
}

BitmapCache::BitmapCache(std::uint64_t bitmap_bytes, std::uint64_t budget_bytes)
    : bitmap_bytes_(bitmap_bytes),
      sets_(std::max<std::size_t>(1, budget_bytes / bitmap_bytes / kWays)),
      lines_(sets_ * kWays),
      bits_(lines_.size(), bitmap_bytes) {}

std::optional<std::size_t> BitmapCache::find(BlockIndex block) const {
  const auto first = first_line(block);
  for (std::size_t line = first; line < first + kWays; ++line) {
    if (lines_[line].block == block) return line;
  }
  return std::nullopt;
}

std::optional<BitmapRun> BitmapCache::run(BlockIndex block, std::uint64_t sector,
                                          std::uint64_t sectors_max) {
  const std::lock_guard lock(mutex_);
  const auto line = find(block);
  if (!line) return std::nullopt;
  lines_[*line].used = ++clock_;
  return bitmap_run(bits_[*line], sector, sectors_max);
}

bool BitmapCache::copy(BlockIndex block, std::span<std::byte> to) {
  assert(to.size() == bitmap_bytes_);
  const std::lock_guard lock(mutex_);
  const auto line = find(block);
  if (line) std::ranges::copy(bits_[*line], to.begin());
  return line.has_value();
}

void BitmapCache::insert(BlockIndex block, std::span<const std::byte> new_bits) {
  assert(new_bits.size() == bitmap_bytes_);
  const std::lock_guard lock(mutex_);
  auto line = find(block);
  if (!line) {
    const auto set = std::span(lines_).subspan(first_line(block), kWays);
    const auto oldest = std::ranges::min_element(set, {}, &Line::used);
    line = static_cast<std::size_t>(&*oldest - lines_.data());
  }
  lines_[*line] = {block, ++clock_};
  std::ranges::copy(new_bits, bits_[*line].begin());
}

}  // namespace xenblk::vhd
