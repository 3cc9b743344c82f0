// A line of the control socket becomes a command, or a reason why not. Pure: no thread, no failure
// but the one that is returned. docs/control.md describes the messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ringio/rate_limiter.h"
#include "xenblk/error.h"
#include "xenblk/image.h"
#include "xenblk/units.h"

namespace xenblk::control {

inline constexpr int kProtocolVersion = 1;
// A line that is longer is refused; no command needs a tenth of this.
inline constexpr std::size_t kLongestLine = 4096;

enum class Verb : std::uint8_t {
  list,
  info,
  stats,
  metrics,
  explain,
  pause,
  resume,
  close,
  resize,
  check,
  snapshot,
  coalesce,
  limit,
  export_disk,
  shutdown,
};
std::string_view name(Verb verb);

// DISK as a user names it: "7/51712" is the guest's number and the device's, "web1:xvda" their
// names.
struct DiskName {
  DomainId domain;
  DeviceId device;
  std::string guest;           // not empty: by names
  std::string virtual_device;  // only with `guest`
  friend bool operator==(const DiskName&, const DiskName&) = default;
};
// Errors: bad_spec.
Expected<DiskName> parse_disk_name(std::string_view text);

// GUEST likewise: "7" or "web1".
struct GuestName {
  DomainId domain;
  std::string name;  // not empty: by name
  friend bool operator==(const GuestName&, const GuestName&) = default;
};
// Errors: bad_spec.
Expected<GuestName> parse_guest_name(std::string_view text);

enum class ShutdownMode : std::uint8_t { detach, close };

struct Command {
  Verb verb = Verb::list;
  std::optional<DiskName> disk;    // of `stats` optional; never with list, metrics, shutdown
  std::optional<GuestName> guest;  // limit, instead of a disk: of all its disks together
  SectorCount capacity;            // resize
  bool bitmaps = false;            // check
  std::string path;                // snapshot: of the child, absolute
  // limit: what is to change (coalesce: bytes_per_second alone); nothing: stays as it is. All zero:
  // no limits any more.
  std::optional<std::uint64_t> operations_per_second;
  std::optional<std::uint64_t> bytes_per_second;
  std::optional<std::uint64_t> burst_ms;
  bool no_limits = false;
  std::string socket;                 // export, unless it is to stop
  Access access = Access::read_only;  // export: what clients may do
  bool stop = false;                  // export
  ShutdownMode shutdown = ShutdownMode::detach;
};

// Errors: bad_spec, with one line that says what is wrong and quotes nothing unprintable.
Expected<Command> parse_command(std::string_view line);

// What `limit` makes of the limits that there are.
ringio::RateLimits changed(ringio::RateLimits limits, const Command& command);

}  // namespace xenblk::control
