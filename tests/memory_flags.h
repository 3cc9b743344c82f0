// What the kernel says about a piece of this process's memory.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace xenblk::test {

// True when the mapping around `address` has the flag "dd" (do not dump) in /proc/self/smaps.
inline bool stays_out_of_core_files(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (words >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = wanted >= begin && wanted < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return (line + ' ').find(" dd ") != std::string::npos;
    }
  }
  return false;
}

}  // namespace xenblk::test
