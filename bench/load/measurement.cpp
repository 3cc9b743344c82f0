#include "bench/load/measurement.h"

#include <fmt/format.h>

namespace xenblk::bench {
namespace {

// The numbers that are printed, in the units in which they are.
struct Figures {
  double iops, mib_per_s, cpu_us_per_io, p50_us, p99_us, p999_us;
};

double ratio(double value, double base) {
  return base > 0 ? value / base : 0;
}

Figures figures_of(const Measurement& seen) {
  const auto operations = static_cast<double>(seen.operations);
  const auto seconds = std::chrono::duration<double>(seen.elapsed).count();
  const auto cpu_us = std::chrono::duration<double, std::micro>(seen.backend_cpu).count();
  const auto percentile_us = [&](double share) {
    return static_cast<double>(seen.latency.percentile_ns(share)) / 1000;
  };
  return {
      ratio(operations, seconds), ratio(static_cast<double>(seen.bytes) / (1024 * 1024), seconds),
      ratio(cpu_us, operations),  percentile_us(0.5),
      percentile_us(0.99),        percentile_us(0.999)};
}

}  // namespace

std::string to_json(const Measurement& seen) {
  const auto f = figures_of(seen);
  return fmt::format(
      R"({{"iops": {:.1f}, "mib_per_s": {:.2f}, "cpu_us_per_io": {:.3f}, )"
      R"("latency_us": {{"p50": {:.1f}, "p99": {:.1f}, "p999": {:.1f}}}, "errors": {}}})",
      f.iops, f.mib_per_s, f.cpu_us_per_io, f.p50_us, f.p99_us, f.p999_us, seen.errors);
}

std::string to_text(const Measurement& seen) {
  const auto f = figures_of(seen);
  return fmt::format(
      "{:.0f} IOPS, {:.1f} MiB/s, {:.2f} us CPU an I/O, latency {:.0f} us (99 %: {:.0f} us, "
      "99.9 %: {:.0f} us), {} errors",
      f.iops, f.mib_per_s, f.cpu_us_per_io, f.p50_us, f.p99_us, f.p999_us, seen.errors);
}

}  // namespace xenblk::bench
