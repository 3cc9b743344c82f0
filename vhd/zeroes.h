// What is written where a file cannot have holes. One for all images: nobody changes it.
#pragma once

#include "vhd/aligned_buffer.h"

namespace xenblk::vhd {

// Allocates when it is called first.
inline const AlignedBuffer& shared_zeroes() {
  static const AlignedBuffer zeroes(128 * 1024);
  return zeroes;
}

}  // namespace xenblk::vhd
