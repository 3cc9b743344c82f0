// The units and the ring arithmetic that everything else relies on.
#include "xenblk/units.h"

#include <gtest/gtest.h>

#include <limits>

#include "xenblk/blkif.h"
#include "xenblk/clock.h"
#include "xenblk/error.h"
#include "xenblk/image.h"
#include "xenblk/io.h"
#include "xenblk/xen.h"

namespace xenblk {
namespace {

constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();

TEST(Fits, AcceptsExactlyTheDisk) {
  EXPECT_TRUE(fits({0}, {8}, {8}));
}
TEST(Fits, AcceptsNothingAtTheEnd) {
  EXPECT_TRUE(fits({8}, {0}, {8}));
}
TEST(Fits, RefusesOneSectorBeyondTheEnd) {
  EXPECT_FALSE(fits({1}, {8}, {8}));
}
TEST(Fits, RefusesASumThatWraps) {
  EXPECT_FALSE(fits({kMax}, {2}, {8}));
}
TEST(Fits, RefusesACountThatWraps) {
  EXPECT_FALSE(fits({2}, {kMax}, {8}));
}

TEST(RingEntries, Are32APageInEveryLayout) {
  for (const auto layout : {blkif::Layout::native, blkif::Layout::x86_32, blkif::Layout::x86_64}) {
    for (const std::uint32_t pages : {1U, 2U, 4U, 8U, 16U}) {
      EXPECT_EQ(blkif::ring_entries(layout, pages), 32 * pages);
    }
  }
}

TEST(Error, DescribesTheReasonOfTheSystem) {
  EXPECT_EQ(describe({Errc::not_found, ENOENT, "/srv/a.img"}),
            "/srv/a.img: No such file or directory");
}
TEST(Error, DescribesItselfWithoutOne) {
  EXPECT_EQ(describe({Errc::bad_spec, 0, "no path"}), "no path");
}
TEST(Error, KnowsAFullDisk) {
  EXPECT_EQ(errc_from_os(ENOSPC), Errc::no_space);
}

}  // namespace
}  // namespace xenblk
