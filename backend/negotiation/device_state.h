// The life of one device as a pure function: what we are, what we see, what to do next.
//
// Level-triggered: whoever wakes up for a device reads everything it needs into `Seen` and asks
// decide() again and again, carrying out one action at a time, until the answer is Action::wait. No
// decision depends on the order or the number of events (blkif.h, "State Diagrams", allows
// frontends to skip states).
#pragma once

#include <cstdint>
#include <string_view>

#include "backend/negotiation/xenbus_state.h"

namespace xenblk::negotiation {

enum class ImagePhase : std::uint8_t { none, opening, open, failed, closing };
enum class RingPhase : std::uint8_t {
  none,
  connecting,
  connected,
  failed,
  // They were those of a daemon before us, and what it left of them cannot be used. Nothing is
  // done to the guest: the right daemon may still come.
  held,
  disconnecting,
};

// What we have done so far; changed only by carrying out actions and by results that come back.
struct Own {
  XenbusState state = XenbusState::unknown;  // the last one that we wrote; unknown: none yet
  ImagePhase image = ImagePhase::none;
  bool image_told = false;  // `image-state` says that it is open
  RingPhase rings = RingPhase::none;
  // Connected and the disk's properties stand in XenStore for the image and the rings that we have.
  bool connected_told = false;
  // The frontend reached Connected in this session. If it then says Initialised it has started
  // afresh, and its rings are others than ours.
  bool frontend_was_connected = false;
  bool shutdown_told = false;  // `shutdown-done`
  bool failure_told = false;   // the reason is in XenStore and in the log
  // Where the frontend stood when the failure was told. Only a frontend that has moved on is
  // offered the device again, so that a broken image is not tried for ever.
  XenbusState failed_at = XenbusState::unknown;
};

enum class HotplugStatus : std::uint8_t { none, connected, error };
// What xenopsd may ask for in `shutdown-request`; `force` does not wait for the frontend.
enum class ShutdownRequest : std::uint8_t { none, normal, force };

// What XenStore says now.
struct Seen {
  bool exists = false;                          // the backend directory is there
  XenbusState backend = XenbusState::unknown;   // our own `state` node, which toolstacks write too
  bool online = true;                           // the toolstack wants the device to survive a close
  bool has_script = false;                      // a hotplug script runs once we are in InitWait
  HotplugStatus hotplug = HotplugStatus::none;  // what that script has written
  XenbusState frontend = XenbusState::unknown;  // unknown: node, directory or domain is gone
  bool frontend_valid = true;                   // its `state` is a number from 0 to 8
  ShutdownRequest shutdown = ShutdownRequest::none;
  // In a driver domain nobody else removes the directory once the device is Closed and not wanted
  // any more, and libxl in domain 0 waits for that.
  bool ours_to_remove = false;
  bool other_medium = false;  // the toolstack has put another image into the drive than ours
};

enum class Action : std::uint8_t {
  wait,               // nothing to do until something changes
  offer,              // publish the offer and InitWait, in one transaction
  open_image,         // start opening
  tell_image,         // write `image-state`, which the hotplug script waits for
  connect_rings,      // negotiate, map, bind
  publish_connected,  // publish the disk's properties and Connected, in one transaction
  disconnect_rings,   // drain, answer, unmap, unbind
  close_image,
  tell_failure,   // `error`, `hotplug-error`, `image-state`, and the log
  state_closing,  // write Closing
  state_closed,   // write Closed
  tell_shutdown,  // write `shutdown-done`
  remove_directory,
  forget,  // the device is gone and nothing is left of it
};

std::string_view name(Action action);

Action decide(const Own& own, const Seen& seen);

// Remembers what later decisions need of what is seen now. To be applied before decide().
Own observe(Own own, const Seen& seen);

// What becomes of Own when an action was carried out, or, for open_image, connect_rings,
// disconnect_rings and close_image, when it was started (their results are set by whoever receives
// them).
Own after(Action action, Own own, const Seen& seen);

}  // namespace xenblk::negotiation
