// The queues of one domain on one worker, and the requests of theirs whose data is to be moved
// next: one grant-copy call serves them all, and never another domain's. Owned and used by one
// worker.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>

#include "ringio/request_slot.h"
#include "xenblk/units.h"

namespace xenblk::ringio {

struct Guest {
  explicit Guest(DomainId domain) : peer(domain) {}

  DomainId peer;
  std::uint32_t queues = 0;
  SlotList tables;    // step table_in: segments of indirect requests are still in the guest's pages
  SlotList incoming;  // step data_in: data for the disk is still in the guest's pages
  SlotList outgoing;  // step data_out: data for the guest is still in our buffers
};

}  // namespace xenblk::ringio
