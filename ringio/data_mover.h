// Moves the data of many requests of one guest between the guest's pages and their buffers, with as
// few grant-copy calls as possible. Owned by a worker; one thread; no allocation after
// construction.
#pragma once

#include <cstddef>
#include <vector>

#include "ringio/request_slot.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

class DataMover {
 public:
  // `table` is borrowed. At most `segments_max` segments are given to it at once.
  DataMover(GrantTable& table, std::size_t segments_max);

  // `slots` are all of the domain `peer` and have data; one guest's bad segment can then never keep
  // another guest's from being copied. A request of which any segment failed gets the answer
  // `error` and is reported to its queue; the others are not affected.
  void move(DomainId peer, SlotList& slots, CopyDirection direction) noexcept;

 private:
  void add(const RequestSlot& slot) noexcept;
  void run(DomainId peer, SlotList::iterator first, SlotList::iterator end,
           CopyDirection direction) noexcept;

  GrantTable& table_;
  std::size_t segments_max_;
  std::vector<GrantCopy> segments_;  // reserved once
};

}  // namespace xenblk::ringio
