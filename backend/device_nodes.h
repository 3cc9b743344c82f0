// Reads what XenStore says about one device. The only place that knows the names of the toolstack's
// nodes.
#pragma once

#include <optional>
#include <string>

#include "backend/negotiation/device_state.h"
#include "backend/negotiation/paths.h"
#include "backend/storage_wishes.h"
#include "ringio/rate_limiter.h"
#include "xenblk/error.h"
#include "xenblk/units.h"
#include "xenblk/xen.h"

namespace xenblk::backend {

// The frontend's side, and in words why it is not acceptable, if it is not.
struct FrontendReading {
  negotiation::XenbusState state = negotiation::XenbusState::unknown;
  bool valid = true;
  std::string problem;
  bool operator==(const FrontendReading&) const = default;
};

// What decide() needs, and in words why the frontend's side is not acceptable, if it is not.
struct Reading {
  negotiation::Seen seen;
  std::string frontend_problem;
};

FrontendReading read_frontend(XenStore& store, const negotiation::DeviceKey& key);

// `medium`: the params of the image in a drive whose medium can be changed; none for other disks,
// which keep their image whatever stands there. `frontend`: what was read of it; read now where
// there is nothing.
Reading read_device(XenStore& store, const negotiation::DeviceKey& key,
                    const std::optional<std::string>& medium,
                    std::optional<FrontendReading>& frontend);
// Reads everything now.
Reading read_device(XenStore& store, const negotiation::DeviceKey& key,
                    const std::optional<std::string>& medium);

// What the toolstack asks for (blkif.h, "Backend Device Properties"; libxl writes these nodes).
struct DiskRequest {
  std::string params;
  std::string virtual_device;  // "xvda"; what the guest's configuration calls it
  Access access = Access::read_only;
  bool cdrom = false;
  bool removable = false;
  bool discard = true;  // the toolstack allows it
  FailureWishes on_failure;
  ringio::RateLimits limits;                       // by the toolstack, or by a daemon before us
  std::optional<ringio::RateLimits> guest_limits;  // likewise, of all disks of its guest together
};

// Whether this disk is offered persistent grants, where the toolstack says so (the node data-path,
// in the words of xenblkd.toml); nothing where it does not. Errors: bad_node (no word that is
// known).
Expected<std::optional<bool>> read_persistent_grants(XenStore& store,
                                                     const negotiation::DeviceKey& key);

// Errors: bad_node (params is missing, mode is neither r nor w, on-error or on-enospc is no word
// that is known, a limit is no number that it may be).
Expected<DiskRequest> read_disk_request(XenStore& store, const negotiation::DeviceKey& key);

}  // namespace xenblk::backend
