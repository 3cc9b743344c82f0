// XenStore paths of one virtual block device. The domain comes from the backend's own path, which
// only the toolstack and we can write; what the frontend's side says about itself is compared with
// it, never used.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "xenblk/units.h"

namespace xenblk::negotiation {

// Names one device of this backend domain: backend/<kind>/<domain>/<device>.
struct DeviceKey {
  std::string kind;  // "vbd", "vbd3", ...
  DomainId domain;   // the frontend's
  DeviceId device;
  auto operator<=>(const DeviceKey&) const = default;
};

// The device that a path below backend/<kind> belongs to. Accepts the path as a watch on the
// relative or on the absolute path reports it. Nothing for a path above a device, and for names
// that are not plain numbers.
std::optional<DeviceKey> device_of_path(std::string_view path, std::string_view kind);

// "backend/vbd/3/51712", relative to the backend domain.
std::string backend_path(const DeviceKey& key);
// "/local/domain/3/device/vbd/51712": the only frontend path that is accepted for the device.
std::string frontend_path(const DeviceKey& key);
// "error/backend/vbd/3/51712", relative to the backend domain, where toolstacks look for its last
// error.
std::string error_path(const DeviceKey& key);
// "vbd 3/51712", for people.
std::string display_name(const DeviceKey& key);

}  // namespace xenblk::negotiation
