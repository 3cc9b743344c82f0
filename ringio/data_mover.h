// Moves the data of many requests of one guest between the guest's pages and their buffers, and
// fetches the segments of indirect ones, with as few grant-copy calls as possible. Pages that stay
// mapped are copied here and now; from then on only our own copy is looked at. Owned by a
// worker; one thread; no allocation after construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ringio/request_slot.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

enum class Movement : std::uint8_t { table_in, data_in, data_out };

class DataMover {
 public:
  // `table` is borrowed. At most `segments_max` segments are given to it at once.
  DataMover(GrantTable& table, std::size_t segments_max);

  // `slots` are all of the domain `peer` and have something to move; one guest's bad segment can
  // then never keep another guest's from being copied. A request of which any segment failed gets
  // the answer `error` and is reported to its queue; the others are not affected.
  void move(DomainId peer, SlotList& slots, Movement what) noexcept;

 private:
  void add_piece(RequestSlot& slot, Movement what) noexcept;
  void add_table(RequestSlot& slot) noexcept;
  void add(RequestSlot& slot, const GrantCopy& copy) noexcept;
  void run(DomainId peer, SlotList::iterator first, SlotList::iterator end, Movement what) noexcept;

  GrantTable& table_;
  std::size_t segments_max_;
  std::vector<GrantCopy> segments_;  // reserved once
};

}  // namespace xenblk::ringio
