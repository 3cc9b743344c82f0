// A slot that the table on stable storage does not refer to any more goes back to the host, and to
// new blocks: nobody uses it any more -> hole -> on stable storage -> free. The hole must be for
// good before a table refers to the slot again, or a power cut would show the old block's data in
// the new one. Owned by an image; any thread.
#pragma once

#include "vhd/block_jobs.h"
#include "vhd/flush_group.h"
#include "vhd/grace_periods.h"

namespace xenblk::vhd {

struct SlotReclaimContext {
  BlockLevel& leaf;
  BlockJobs& jobs;
  FlushGroup& syncs;
  GracePeriods& inside;
};

class SlotReclaim {
 public:
  explicit SlotReclaim(const SlotReclaimContext& context) : context_(context) {}
  SlotReclaim(const SlotReclaim&) = delete;
  SlotReclaim& operator=(const SlotReclaim&) = delete;

  // The request is inside, with no piece in flight, and is so again when `then` runs. It fails
  // never: a slot that cannot be emptied is lost until the image is opened again, which is no error
  // of the guest.
  void begin(ImageRequest& request, std::uint32_t entry, Then then) noexcept;

 private:
  void punch(ImageRequest& request) noexcept;
  void finish(ImageRequest& request, bool emptied) noexcept;
  static SlotReclaim& of(ImageRequest& request);

  const SlotReclaimContext context_;
};

}  // namespace xenblk::vhd
