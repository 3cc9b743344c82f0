// What one measurement saw, and how it is printed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "bench/load/latency_histogram.h"

namespace xenblk::bench {

struct Measurement {
  std::uint64_t operations = 0;  // of the guests; one may be several requests
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;  // operations of which any request was answered with an error
  std::chrono::nanoseconds elapsed{};
  // Processor time of the backend alone: of the process, without the threads that play the guests.
  std::chrono::nanoseconds backend_cpu{};
  LatencyHistogram latency;
};

std::string to_json(const Measurement& seen);
std::string to_text(const Measurement& seen);

}  // namespace xenblk::bench
