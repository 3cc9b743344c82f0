// A disk that a daemon before us served: what it has to wait for until we serve it.
#include <fmt/format.h>

#include <utility>

#include "backend/device.h"

namespace xenblk::backend {

using negotiation::Seen;
using negotiation::XenbusState;

namespace {

// How often, and how many times, a disk that is taken over tries again to bind what its last daemon
// had bound.
constexpr std::chrono::milliseconds kWait{20};
constexpr unsigned kMostPortWaits = 250;
// And an image that cannot be opened yet.
constexpr std::chrono::milliseconds kStorageWait{1000};

// It has requests in its ring, or is about to.
bool frontend_waits(const Seen& seen) {
  return seen.frontend_valid &&
         (seen.frontend == XenbusState::connected || seen.frontend == XenbusState::initialised ||
          seen.frontend == XenbusState::closing);
}

}  // namespace

// Closing is what a toolstack may have written meanwhile.
bool Device::was_served(XenbusState backend) {
  return backend == XenbusState::connected || backend == XenbusState::closing;
}

// What a daemon that was killed had given to the kernel goes on without it. Until the last of its
// writes is done the image stays locked (the kernel holds the file for each of them), and its ports
// are free a moment after it is dead. A disk that a guest is using waits for that, and for an image
// that is not there or not good: to fail would leave the guest's requests unanswered for ever.
std::optional<std::chrono::milliseconds> Device::try_again_in(const Error& error,
                                                              Patience patience) {
  if (!taking_over_ || detaching_) return std::nullopt;
  const bool port = error.code == Errc::bad_port && waits_ < kMostPortWaits;
  const bool left = error.code == Errc::locked || port;
  if (!left && patience == Patience::for_the_dead) return std::nullopt;
  const auto seen = read_device(services_.store, key_, medium_).seen;
  if (!was_served(seen.backend) || !frontend_waits(seen)) return std::nullopt;
  if (!left) {
    tell_wait(describe(error));
    return kStorageWait;
  }
  if (waits_++ == 0) {
    report(Severity::warning,
           fmt::format("waits for what an earlier daemon left: {}", describe(error)));
  }
  return kWait;
}

void Device::tell_wait(std::string reason) {
  if (failure_ == reason) return;
  failure_ = std::move(reason);
  report(Severity::error,
         fmt::format("cannot be taken over, which is tried again each second: {}", failure_));
  static_cast<void>(services_.store.write(negotiation::error_path(key_) + "/error", failure_));
}

}  // namespace xenblk::backend
