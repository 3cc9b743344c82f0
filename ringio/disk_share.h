// What one disk holds of its worker's request slots and buffers, through all of its queues there. A
// disk whose storage hangs keeps what it holds: so that it leaves something to the others, a disk
// takes more only while it holds at most three times what is free. One disk alone gets three
// quarters of everything, and each further one that hangs three quarters of what is left: the fifth
// may take the last slot of 512. Bytes are counted, not pieces: what is left may be too little for
// a large request, which then lets others pass. Owned and used by one worker.
#pragma once

#include <cstddef>
#include <cstdint>

#include "xenblk/units.h"

namespace xenblk::ringio {

struct DiskShare {
  DomainId peer;
  DeviceId device;
  std::uint32_t queues = 0;
  std::size_t slots = 0;
  std::size_t bytes = 0;  // of buffers

  bool may_take_more(std::size_t free_slots, std::size_t free_bytes) const {
    constexpr std::size_t kTimesFree = 3;
    return slots <= kTimesFree * free_slots && bytes <= kTimesFree * free_bytes;
  }
};

}  // namespace xenblk::ringio
