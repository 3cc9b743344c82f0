// A guest fills nobody's log.
#include "backend/log_budget.h"

#include <gtest/gtest.h>

namespace xenblk::backend {
namespace {

using std::chrono::seconds;

class Budget : public testing::Test {
 protected:
  std::uint32_t lines_out_of(std::uint32_t tries) {
    std::uint32_t written = 0;
    for (std::uint32_t i = 0; i < tries; ++i) written += budget_.take(now_) ? 1 : 0;
    return written;
  }
  LogBudget budget_;
  LogBudget::Time now_{seconds(1000)};
};

TEST_F(Budget, LetsABurstThroughAndNoMore) {
  EXPECT_EQ(lines_out_of(100000), LogBudget::kBurst);
  EXPECT_EQ(budget_.take_refused(), 100000 - LogBudget::kBurst);
  EXPECT_EQ(budget_.take_refused(), 0U);
}

TEST_F(Budget, LetsALineThroughNowAndThen) {
  lines_out_of(1000);
  now_ += 3 * LogBudget::kRefill;
  EXPECT_EQ(lines_out_of(1000), 3U);
}

TEST_F(Budget, NeverSavesMoreThanABurst) {
  lines_out_of(1000);
  now_ += seconds(1000000);
  EXPECT_EQ(lines_out_of(1000), LogBudget::kBurst);
}

TEST_F(Budget, CountsAPartOfTheTimeThatIsNotOverYet) {
  lines_out_of(1000);
  now_ += LogBudget::kRefill / 2;
  EXPECT_EQ(lines_out_of(10), 0U);
  now_ += LogBudget::kRefill / 2;
  EXPECT_EQ(lines_out_of(10), 1U);
}

}  // namespace
}  // namespace xenblk::backend
