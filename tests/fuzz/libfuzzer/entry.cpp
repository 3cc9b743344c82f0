// One target for libFuzzer; which one, the build says.
#include <cstddef>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  xenblk::fuzz::XENBLK_FUZZ_TARGET({data, bytes});
  return 0;
}
