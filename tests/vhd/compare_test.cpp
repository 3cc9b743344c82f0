// Comparing images on simulated disks.
#include "vhd/operations/compare.h"

#include <gtest/gtest.h>

#include "tests/vhd/sim_image.h"

namespace xenblk::vhd {
namespace {

using test::bytes_of;

constexpr std::uint64_t kSectors = 3 * 4096 + 1000;

class CompareTest : public ::testing::Test {
 protected:
  CompareTest() {
    engine_.add(one_);
    engine_.add(other_);
    options_.names = {"one", "other"};
    options_.chunk = {256};
  }
  void make(std::uint64_t sectors = kSectors, std::uint64_t other_sectors = kSectors) {
    one_.make_raw(sectors);
    other_.make_vhd({.capacity = {other_sectors}});
    for (auto* image : {&one_, &other_}) {
      image->write(100, bytes_of(3000, 1));
      image->write(8000, bytes_of(300, 2));
    }
  }

  Expected<FirstDifference> compare() {
    Compare compare(*one_.image, *other_.image, engine_, options_);
    compare.start();
    EXPECT_FALSE(compare.is_finished()) << "finished inside start";
    if (stops_) compare.stop();
    while (!compare.is_finished() && engine_.poll()) {
    }
    EXPECT_TRUE(compare.is_finished()) << "waits for nothing";
    progress_ = compare.progress();
    return compare.result();
  }
  void expect_difference(FirstDifference expected) {
    EXPECT_EQ(compare(), Expected<FirstDifference>(expected));
  }

  test::SimImage one_{1};
  test::SimImage other_{2};
  test::SimEngines engine_;
  CompareOptions options_;
  CompareProgress progress_;
  bool stops_ = false;
};

TEST_F(CompareTest, AlikeImagesHaveNoDifference) {
  make();
  expect_difference({});
  EXPECT_EQ(progress_.done.n, kSectors);
}

TEST_F(CompareTest, ReadsNothingWhereBothAreZero) {
  one_.make_raw(kSectors);
  other_.make_vhd({.capacity = {kSectors}});
  expect_difference({});
  EXPECT_EQ(progress_.read_bytes, 0U);
}

TEST_F(CompareTest, AHoleIsLikeZeroes) {
  make();
  one_.write(9000, bytes_of(700, 0));
  expect_difference({});
}

TEST_F(CompareTest, FindsTheFirstOfManyDifferences) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    one_.disk.random().seed(seed);
    if (seed == 1) make();
    auto data = bytes_of(1, 1);
    data[77] = std::byte{9};
    other_.write(2999, data);
    other_.write(700, data);
    other_.write(8100, data);
    expect_difference(700 * kSectorBytes + 77);
  }
}

TEST_F(CompareTest, DataWhereTheOtherHasNoneIsADifference) {
  make();
  other_.write(13000, bytes_of(2, 5));
  expect_difference(13000 * kSectorBytes);
}

TEST_F(CompareTest, TheSmallerDiskGoesOnWithZeroes) {
  make(kSectors, kSectors + 5000);
  expect_difference({});
  EXPECT_EQ(progress_.total.n, kSectors + 5000);
  other_.write(kSectors + 4999, bytes_of(1, 5));
  expect_difference((kSectors + 4999) * kSectorBytes);
}

TEST_F(CompareTest, SaysWhichImageCannotBeRead) {
  make();
  other_.disk.fault = [](const IoOp& op) { return op.kind == IoKind::read ? EIO : 0; };
  options_.requests = 1;
  const auto result = compare();
  ASSERT_FALSE(result);
  EXPECT_EQ(describe(result.error()),
            "other: cannot read 96 sectors at sector 0: Input/output error");
}

TEST_F(CompareTest, Stops) {
  make();
  stops_ = true;
  EXPECT_EQ(compare(), Expected<FirstDifference>(fail(Errc::closed, "stopped before the end")));
}

}  // namespace
}  // namespace xenblk::vhd
