#include "bench/load/load.h"

#include <array>
#include <cassert>
#include <utility>

namespace xenblk::bench {
namespace {

constexpr std::array<std::pair<std::string_view, Pattern>, 5> kPatterns{{
    {"read", Pattern::read},
    {"write", Pattern::write},
    {"randread", Pattern::randread},
    {"randwrite", Pattern::randwrite},
    {"randrw", Pattern::randrw},
}};

}  // namespace

std::optional<Pattern> parse_pattern(std::string_view name) {
  for (const auto& [known, pattern] : kPatterns) {
    if (known == name) return pattern;
  }
  return std::nullopt;
}

std::string_view name_of(Pattern pattern) {
  return kPatterns[static_cast<std::size_t>(pattern)].first;
}

bool writes(Pattern pattern) {
  return pattern != Pattern::read && pattern != Pattern::randread;
}

Sequence::Sequence(const Load& load, SectorCount capacity, std::uint64_t seed)
    : pattern_(load.pattern),
      block_sectors_(load.block_bytes / kSectorBytes),
      blocks_(capacity.n / block_sectors_),
      state_(seed) {
  assert(blocks_ > 0);
}

Operation Sequence::next() {
  switch (pattern_) {
    case Pattern::read:
    case Pattern::write: {
      const auto block = next_block_;
      next_block_ = (next_block_ + 1) % blocks_;
      return {pattern_ == Pattern::write, {block * block_sectors_}};
    }
    case Pattern::randread:
    case Pattern::randwrite:
      return {pattern_ == Pattern::randwrite, {random() % blocks_ * block_sectors_}};
    case Pattern::randrw: {
      const bool write = random() % 10 < 3;
      return {write, {random() % blocks_ * block_sectors_}};
    }
  }
  std::unreachable();
}

// SplitMix64: a few instructions, so that the load costs next to nothing beside what it measures.
std::uint64_t Sequence::random() {
  state_ += 0x9e3779b97f4a7c15;
  auto mixed = state_;
  mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31U);
}

}  // namespace xenblk::bench
