// Processor time used so far.
#pragma once

#include <time.h>

#include <chrono>

namespace xenblk::bench {

inline std::chrono::nanoseconds cpu_time(clockid_t clock) {
  timespec used{};
  clock_gettime(clock, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}
// Of all threads of this process, those included that the kernel runs for its io_urings.
inline std::chrono::nanoseconds process_cpu() {
  return cpu_time(CLOCK_PROCESS_CPUTIME_ID);
}
inline std::chrono::nanoseconds own_thread_cpu() {
  return cpu_time(CLOCK_THREAD_CPUTIME_ID);
}

}  // namespace xenblk::bench
