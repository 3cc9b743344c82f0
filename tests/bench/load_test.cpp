// The sequence of operations that a load means.
#include "bench/load/load.h"

#include <gtest/gtest.h>

#include <set>

namespace xenblk::bench {
namespace {

constexpr SectorCount kEightBlocks{64};

Load load_of(Pattern pattern) {
  Load load;
  load.pattern = pattern;
  return load;
}

TEST(Pattern, IsWhatItIsCalled) {
  for (const auto* name : {"read", "write", "randread", "randwrite", "randrw"}) {
    const auto pattern = parse_pattern(name);
    ASSERT_TRUE(pattern.has_value());
    EXPECT_EQ(name_of(*pattern), name);
  }
  EXPECT_FALSE(parse_pattern("trim").has_value());
}

TEST(Sequence, BeginsAgainAtTheEndOfTheDisk) {
  Sequence sequence(load_of(Pattern::write), kEightBlocks, 1);
  for (std::uint64_t n = 0; n < 20; ++n) {
    const auto operation = sequence.next();
    EXPECT_TRUE(operation.write);
    EXPECT_EQ(operation.first.n, n % 8 * 8);
  }
}

TEST(Sequence, DrawsEveryBlockAndNothingElse) {
  Sequence sequence(load_of(Pattern::randread), kEightBlocks, 1);
  std::set<std::uint64_t> seen;
  for (int n = 0; n < 1000; ++n) seen.insert(sequence.next().first.n);
  EXPECT_EQ(seen, (std::set<std::uint64_t>{0, 8, 16, 24, 32, 40, 48, 56}));
}

TEST(Sequence, MixesReadsAndWrites) {
  Sequence sequence(load_of(Pattern::randrw), kEightBlocks, 1);
  int writes = 0;
  for (int n = 0; n < 10000; ++n) writes += sequence.next().write ? 1 : 0;
  EXPECT_NEAR(writes, 3000, 300);
}

}  // namespace
}  // namespace xenblk::bench
