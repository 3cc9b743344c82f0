// How often a test repeats itself. What runs in one thread gives ThreadSanitizer nothing to find,
// and each sanitizer makes it ten to thirty times slower, so there a part of it has to do.
#pragma once

#include <algorithm>

namespace xenblk::test {

// At least one.
constexpr int single_threaded_rounds(int usual) {
#if defined(__SANITIZE_THREAD__)
  return std::max(usual / 50, 1);
#elif defined(__SANITIZE_ADDRESS__)
  return std::max(usual / 10, 1);
#else
  return usual;
#endif
}

}  // namespace xenblk::test
