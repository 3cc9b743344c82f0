#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/targets.h"

namespace xenblk::fuzz {

void broken(const char* expectation, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: expected %s\n", file, line, expectation);
  std::abort();
}

}  // namespace xenblk::fuzz
