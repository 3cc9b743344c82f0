#include "backend/negotiation/device_state.h"

namespace xenblk::negotiation {

namespace {

// The toolstack makes a backend directory with state Initialising and never writes that again:
// finding it after we have written a state of our own means that the directory was removed and made
// anew.
bool replaced(const Own& own, const Seen& seen) {
  return own.state != XenbusState::unknown && seen.backend == XenbusState::initialising;
}

// Toolstacks ask for a close by writing Closing into *our* state node (libxl, xenopsd).
bool close_requested(const Own& own, const Seen& seen) {
  const bool closing = seen.backend == XenbusState::closing || seen.backend == XenbusState::closed;
  if (closing && seen.backend != own.state) return true;
  return !seen.online && own.state == XenbusState::closing;
}

bool busy(const Own& own) {
  return own.rings == RingPhase::connecting || own.rings == RingPhase::disconnecting ||
         own.image == ImagePhase::opening || own.image == ImagePhase::closing;
}

// Gives back rings, then the image, then takes the last step.
Action tear_down(const Own& own, Action last) {
  if (own.rings == RingPhase::connected) return Action::disconnect_rings;
  if (busy(own)) return Action::wait;
  if (own.image == ImagePhase::open) return Action::close_image;
  return last;
}

// Closed is written again when something else stands there: a directory that was removed, made
// again and asked to close, all before we looked, has not heard from us.
Action close_down(const Own& own, const Seen& seen) {
  const bool said = own.state == XenbusState::closed && seen.backend == XenbusState::closed;
  const auto rest = seen.ours_to_remove && !seen.online ? Action::remove_directory : Action::wait;
  return tear_down(own, said ? rest : Action::state_closed);
}

// A frontend that is still using the rings closes first: it sees our Closing and answers with
// Closed.
bool frontend_will_close(const Own& own, const Seen& seen) {
  if (own.rings != RingPhase::connected || !seen.frontend_valid) return false;
  return seen.frontend == XenbusState::initialised || seen.frontend == XenbusState::connected ||
         seen.frontend == XenbusState::closing;
}

Action shut_down(const Own& own, const Seen& seen) {
  if (seen.shutdown == ShutdownRequest::normal && frontend_will_close(own, seen)) {
    return own.state == XenbusState::closing ? Action::wait : Action::state_closing;
  }
  const auto next = close_down(own, seen);
  if (next != Action::wait || busy(own)) return next;
  return own.shutdown_told ? Action::wait : Action::tell_shutdown;
}

// An earlier daemon served this frontend, and a toolstack has asked for the close while nobody did:
// what is in the rings is still to be answered before the frontend can close.
bool left_in_use(const Own& own, const Seen& seen) {
  if (own.state != XenbusState::unknown || seen.backend != XenbusState::closing) return false;
  if (own.image == ImagePhase::failed || own.image == ImagePhase::closing) return false;
  if (own.rings != RingPhase::none && own.rings != RingPhase::connecting) return false;
  return seen.frontend_valid &&
         (seen.frontend == XenbusState::connected || seen.frontend == XenbusState::closing);
}

Action take_over(const Own& own) {
  if (busy(own)) return Action::wait;
  return own.image == ImagePhase::none ? Action::open_image : Action::connect_rings;
}

bool possible_for_frontend(const Seen& seen) {
  switch (seen.frontend) {
    case XenbusState::init_wait:
    case XenbusState::reconfiguring:
    case XenbusState::reconfigured:
      return false;
    case XenbusState::unknown:
    case XenbusState::initialising:
    case XenbusState::initialised:
    case XenbusState::connected:
    case XenbusState::closing:
    case XenbusState::closed:
      return seen.frontend_valid;
  }
  return false;
}

bool failed(const Own& own, const Seen& seen) {
  return own.image == ImagePhase::failed || own.rings == RingPhase::failed ||
         own.rings == RingPhase::held || !possible_for_frontend(seen);
}

// The hotplug script starts when it sees InitWait and shows the reason to the user, so InitWait
// stays until the script has written what it found.
bool script_has_yet_to_read(const Own& own, const Seen& seen) {
  return own.image == ImagePhase::failed && seen.has_script &&
         seen.hotplug == HotplugStatus::none && own.state == XenbusState::init_wait;
}

Action give_up(const Own& own, const Seen& seen) {
  const bool at_rest = own.state == XenbusState::closing || own.state == XenbusState::closed;
  const bool in_use =
      seen.frontend == XenbusState::connected || seen.frontend == XenbusState::initialised;
  if (own.rings == RingPhase::held && in_use && seen.frontend_valid) return Action::wait;
  const bool frontend_left = seen.frontend_valid && (seen.frontend == XenbusState::closed ||
                                                     seen.frontend == XenbusState::unknown);
  const bool frontend_restarted = seen.frontend_valid && seen.frontend != own.failed_at &&
                                  seen.frontend == XenbusState::initialising;
  if (at_rest && (frontend_left || frontend_restarted)) return close_down(own, seen);
  if (script_has_yet_to_read(own, seen)) return Action::wait;
  return at_rest ? Action::wait : Action::state_closing;
}

// True once a failed device may be tried again: everything is closed and the frontend begins anew.
bool fresh_start(const Own& own, const Seen& seen) {
  return own.state == XenbusState::closed && !busy(own) &&
         seen.frontend == XenbusState::initialising && seen.frontend_valid && seen.online &&
         own.failed_at != XenbusState::initialising;
}

// The toolstack names the new medium in `params`, and nothing for an empty drive. The rings rest
// meanwhile, so that nothing of the old medium is in flight when it is closed: to the frontend it
// is a pause.
bool must_eject(const Own& own, const Seen& seen) {
  return seen.other_medium && own.image == ImagePhase::open;
}

Action frontend_initialising(const Own& own, const Seen& seen) {
  switch (own.state) {
    case XenbusState::unknown:
      return Action::offer;
    case XenbusState::init_wait:
      break;
    case XenbusState::closed:
      if (busy(own)) return Action::wait;
      return seen.online ? Action::offer : Action::wait;
    default:
      return close_down(own, seen);  // it began again without closing first
  }
  if (own.rings == RingPhase::connected) return Action::disconnect_rings;
  if (must_eject(own, seen)) return tear_down(own, Action::wait);
  if (own.image == ImagePhase::none) return Action::open_image;
  if (own.image == ImagePhase::open && !own.image_told) return Action::tell_image;
  return Action::wait;
}

// The rings in use belong to an earlier life of the frontend, or to one that was about to close.
bool rings_are_stale(const Own& own, const Seen& seen) {
  if (own.rings != RingPhase::connected) return false;
  if (own.state == XenbusState::closing || own.state == XenbusState::closed) return true;
  return own.frontend_was_connected && seen.frontend == XenbusState::initialised;
}

Action frontend_ready(const Own& own, const Seen& seen) {
  const bool offered_by_an_earlier_daemon = seen.backend == XenbusState::connected;
  if (own.state == XenbusState::unknown && !offered_by_an_earlier_daemon) return Action::offer;
  if (own.state == XenbusState::closed && !seen.online) return Action::wait;
  if (rings_are_stale(own, seen)) return Action::disconnect_rings;
  if (must_eject(own, seen)) return tear_down(own, Action::wait);
  if (own.image == ImagePhase::none) return Action::open_image;
  if (busy(own)) return Action::wait;
  if (!own.image_told) return Action::tell_image;
  if (own.rings == RingPhase::none) return Action::connect_rings;
  return own.connected_told ? Action::wait : Action::publish_connected;
}

Action frontend_closing(const Own& own) {
  const bool at_rest = own.state == XenbusState::closing || own.state == XenbusState::closed;
  return at_rest ? Action::wait : Action::state_closing;
}

}  // namespace

Action decide(const Own& own, const Seen& seen) {
  if (!seen.exists || replaced(own, seen)) return tear_down(own, Action::forget);
  const bool at_once = seen.shutdown == ShutdownRequest::force;
  if (close_requested(own, seen) && !at_once) {
    if (left_in_use(own, seen)) return take_over(own);
    return frontend_will_close(own, seen) ? Action::wait : close_down(own, seen);
  }
  if (seen.shutdown != ShutdownRequest::none) return shut_down(own, seen);
  if (own.failure_told && !fresh_start(own, seen)) return give_up(own, seen);
  if (!own.failure_told && failed(own, seen)) return Action::tell_failure;
  switch (seen.frontend) {
    case XenbusState::initialising:
      return frontend_initialising(own, seen);
    case XenbusState::initialised:
    case XenbusState::connected:
      return frontend_ready(own, seen);
    case XenbusState::closing:
      return frontend_closing(own);
    case XenbusState::unknown:
    case XenbusState::closed:
    // The others have failed above.
    case XenbusState::init_wait:
    case XenbusState::reconfiguring:
    case XenbusState::reconfigured:
      break;
  }
  return close_down(own, seen);
}

Own after(Action action, Own own, const Seen& seen) {
  switch (action) {
    case Action::wait:
    case Action::forget:
    case Action::remove_directory:
      break;
    case Action::tell_shutdown:
      own.shutdown_told = true;
      break;
    case Action::offer:
      // A new life: what failed in an earlier one is tried again.
      if (own.image == ImagePhase::failed) own.image = ImagePhase::none;
      if (own.rings == RingPhase::failed || own.rings == RingPhase::held) {
        own.rings = RingPhase::none;
      }
      own.failure_told = false;
      own.failed_at = XenbusState::unknown;
      own.image_told = false;
      own.state = XenbusState::init_wait;
      break;
    case Action::open_image:
      own.image = ImagePhase::opening;
      break;
    case Action::tell_image:
      own.image_told = true;
      break;
    case Action::connect_rings:
      own.rings = RingPhase::connecting;
      own.frontend_was_connected = seen.frontend == XenbusState::connected;
      break;
    case Action::publish_connected:
      own.state = XenbusState::connected;
      own.connected_told = true;
      break;
    case Action::disconnect_rings:
      own.rings = RingPhase::disconnecting;
      own.connected_told = false;
      own.frontend_was_connected = false;
      break;
    case Action::close_image:
      own.image = ImagePhase::closing;
      own.image_told = false;
      break;
    case Action::tell_failure:
      own.failure_told = true;
      own.failed_at = seen.frontend;
      break;
    case Action::state_closing:
      own.state = XenbusState::closing;
      break;
    case Action::state_closed:
      own.state = XenbusState::closed;
      break;
  }
  return own;
}

Own observe(Own own, const Seen& seen) {
  if (own.state == XenbusState::connected && own.rings == RingPhase::connected &&
      seen.frontend == XenbusState::connected) {
    own.frontend_was_connected = true;
  }
  if (seen.shutdown == ShutdownRequest::none) own.shutdown_told = false;
  // Having moved on once is enough: it may come back to where it stood.
  if (own.failure_told && seen.frontend != own.failed_at) own.failed_at = XenbusState::unknown;
  return own;
}

std::string_view name(Action action) {
  switch (action) {
    case Action::wait:
      return "wait";
    case Action::offer:
      return "offer";
    case Action::open_image:
      return "open image";
    case Action::tell_image:
      return "tell image";
    case Action::connect_rings:
      return "connect rings";
    case Action::publish_connected:
      return "publish connected";
    case Action::disconnect_rings:
      return "disconnect rings";
    case Action::close_image:
      return "close image";
    case Action::tell_failure:
      return "tell failure";
    case Action::state_closing:
      return "state Closing";
    case Action::state_closed:
      return "state Closed";
    case Action::tell_shutdown:
      return "tell shutdown";
    case Action::remove_directory:
      return "remove directory";
    case Action::forget:
      return "forget";
  }
  return "?";
}

}  // namespace xenblk::negotiation
