// What a measurement is printed as; bench/run and people's scripts read it.
#include "bench/load/measurement.h"

#include <gtest/gtest.h>

namespace xenblk::bench {
namespace {

using namespace std::chrono_literals;

TEST(Measurement, IsPrintedInTheUnitsItNames) {
  Measurement seen;
  seen.operations = 1000;
  seen.bytes = 1000 * 4096;
  seen.errors = 3;
  seen.elapsed = 2s;
  seen.backend_cpu = 5ms;
  for (int n = 0; n < 1000; ++n) seen.latency.add(64'100);
  EXPECT_EQ(to_json(seen),
            R"({"iops": 500.0, "mib_per_s": 1.95, "cpu_us_per_io": 5.000, )"
            R"("latency_us": {"p50": 64.0, "p99": 64.0, "p999": 64.0}, "errors": 3})");
}

TEST(Measurement, OfNothingIsZeroes) {
  EXPECT_EQ(to_json({}), R"({"iops": 0.0, "mib_per_s": 0.00, "cpu_us_per_io": 0.000, )"
                         R"("latency_us": {"p50": 0.0, "p99": 0.0, "p999": 0.0}, "errors": 0})");
}

}  // namespace
}  // namespace xenblk::bench
