// What all disks of a guest may have together. Each disk's directory in XenStore says it, as that
// is what lives as long as the disk: the first one that is opened decides, and the others join it.
#pragma once

#include <map>
#include <memory>

#include "ringio/rate_limiter.h"
#include "xenblk/xen.h"

namespace xenblk::backend {

// The limiter is asked by the workers; the rest is the loop's thread's.
struct GuestLimit {
  ringio::RateLimiter limiter;
  bool known = false;  // a disk or an administrator has said what it is, if only that there is none
};

// Used by the loop's thread.
class GuestLimits {
 public:
  // Shared by those who hold it, the devices of the guest, and gone with the last of them: another
  // guest may get the number.
  std::shared_ptr<GuestLimit> of(DomainId guest);

 private:
  std::map<DomainId, std::weak_ptr<GuestLimit>> guests_;
};

}  // namespace xenblk::backend
