// What an administrator asks of a device, by way of the control socket.
#include <fmt/format.h>

#include <array>
#include <utility>

#include "backend/device.h"
#include "backend/disk_limits.h"
#include "backend/export_socket.h"
#include "backend/store.h"

namespace xenblk::backend {

using negotiation::ImagePhase;
using negotiation::Node;
using negotiation::RingPhase;
using negotiation::XenbusState;

namespace {

const char* word(blkif::Op op) {
  switch (op) {
    case blkif::Op::read:
      return "read";
    case blkif::Op::write:
      return "write";
    case blkif::Op::write_barrier:
      return "barrier";
    case blkif::Op::flush_diskcache:
      return "flush";
    case blkif::Op::discard:
      return "discard";
    case blkif::Op::reserved_1:
    case blkif::Op::indirect:
      break;
  }
  return "request";
}

}  // namespace

DeviceStatus Device::status() const {
  DeviceStatus status{.key = key_,
                      .own = own_,
                      .request = request_,
                      .failure = failure_,
                      .offer = offered_,
                      .session = session_,
                      .merge = merge_,
                      .paused = paused_,
                      .looks_put_off = looks_put_off_,
                      .policy = policy_,
                      .storage_waits = !storage_waits_.empty(),
                      .storage_stopped = refuses_->load(std::memory_order_relaxed),
                      .limits = limiter_->get(),
                      .guest_limits = guest_limit_->limiter.get()};
  if (own_.image == ImagePhase::open && image_) {
    status.image = image_->info();
    status.capacity = image_->capacity();
  }
  if (export_) {
    const auto& counters = export_->counters();
    status.exported = {.socket = export_->path(),
                       .access = export_->read_only() ? Access::read_only : Access::read_write,
                       .clients = counters.connections.load(),
                       .requests = counters.requests.load()};
  }
  status.counters.assign(rings_.counters().begin(), rings_.counters().end());
  return status;
}

void Device::pause(Done done) {
  if (own_.rings != RingPhase::connected || detaching_) {
    return done(fail(Errc::refused, "no guest is connected to it"));
  }
  if (paused_) return done(fail(Errc::refused, "it is paused already"));
  if (auto free = not_changing(); !free) return done(free);
  paused_ = true;
  rings_.pause([done = std::move(done)] { done({}); });
}

Expected<void> Device::resume() {
  const bool stopped = refuses_->load(std::memory_order_relaxed);
  if (!paused_ && !stopped && storage_waits_.empty()) {
    return fail(Errc::refused, "it is not paused");
  }
  if (auto free = not_changing(); !free) return free;
  paused_ = false;
  refuses_->store(false, std::memory_order_relaxed);
  if (stopped) {
    report(Severity::info, "requests are served again");
    publish_storage_state();
  }
  rings_.resume();
  return {};
}

Expected<void> Device::set_limits(const ringio::RateLimits& limits) {
  if (auto noted = note(limit_nodes(limits)); !noted) return noted;
  request_.limits = limits;
  limiter_->set(limits);
  rings_.wake();
  return {};
}

Expected<void> Device::note_guest_limits(const ringio::RateLimits& limits) {
  if (auto noted = note(guest_limit_nodes(limits)); !noted) return noted;
  request_.guest_limits = limits;
  return {};
}

// In the disk's directory, whatever its state is.
Expected<void> Device::note(std::span<const Node> nodes) {
  for (int tries = 0; tries < kPublishTries; ++tries) {
    const auto seen = read_device(services_.store, key_, medium_).seen;
    if (!seen.exists) return fail(Errc::refused, "it is just being removed");
    const auto published =
        publish(services_.store, negotiation::backend_path(key_), seen.backend, nodes);
    if (!published) return std::unexpected(published.error());
    if (*published == Published::done) return {};
  }
  return fail(Errc::conflict, "its state changes faster than its nodes can be written");
}

// What libxl writes to remove a device (libxl_device.c, libxl__initiate_device_generic_remove).
Expected<void> Device::request_close() {
  const std::array<Node, 2> nodes{
      Node{"online", "0"}, Node{"state", std::to_string(static_cast<int>(XenbusState::closing))}};
  for (int tries = 0; tries < kPublishTries; ++tries) {
    const auto seen = read_device(services_.store, key_, medium_).seen;
    if (!seen.exists || seen.backend == XenbusState::closed) {
      return fail(Errc::refused, "it is closed already");
    }
    const auto published =
        publish(services_.store, negotiation::backend_path(key_), seen.backend, nodes);
    if (!published) return std::unexpected(published.error());
    if (*published == Published::done) {
      changed_();
      return {};
    }
  }
  return fail(Errc::conflict, "its state changes faster than it can be written");
}

bool Device::at_rest() const {
  const bool no_image = own_.image == ImagePhase::none || own_.image == ImagePhase::failed;
  const bool no_rings = own_.rings == RingPhase::none || own_.rings == RingPhase::failed ||
                        own_.rings == RingPhase::held;
  return no_image && no_rings;
}

void Device::grow(SectorCount capacity, Done done) {
  if (auto can = can_change(); !can) return done(std::move(can));
  // A VHD is changed between two requests.
  if (image_->info().format.starts_with("vhd")) return resize_between(capacity, std::move(done));
  const std::weak_ptr<Device*> self = self_;
  services_.opener.grow(image_, capacity,
                        [self, done = std::move(done)](const Expected<SectorCount>& grown) {
                          if (!grown) return done(std::unexpected(grown.error()));
                          if (const auto device = self.lock()) (*device)->capacity_read(grown);
                          done({});
                        });
}

Expected<void> Device::start_export(const std::string& socket, Access access) {
  if (services_.exports == nullptr) return fail(Errc::refused, "disks are not exported here");
  if (own_.image != ImagePhase::open || detaching_) {
    return fail(Errc::refused, "its image is not open");
  }
  if (drive_is_empty_) return fail(Errc::refused, "there is no medium");
  if (auto free = not_changing(); !free) return free;
  if (auto whole = not_merging(); !whole) return whole;
  if (export_) return fail(Errc::refused, "it is exported already at " + export_->path());
  if (access == Access::read_write && request_.access == Access::read_only) {
    return fail(Errc::refused, "the disk is read-only");
  }
  const auto path = export_socket(services_.export_directory, socket);
  if (!path) return std::unexpected(path.error());
  auto started = nbd::Export::start(*services_.exports, image_, *path,
                                    {.read_only = access == Access::read_only});
  if (!started) return std::unexpected(std::move(started.error()));
  export_ = std::move(*started);
  report(Severity::info,
         fmt::format("exported at {}, {}", *path, export_->read_only() ? "read-only" : "writable"));
  return {};
}

void Device::stop_export(Done done) {
  if (!export_) return done(fail(Errc::refused, "it is not exported"));
  export_ends_.push_back(std::move(done));
  if (export_ends_.size() > 1) return;
  // The device waits for this before its image is closed, so it is still there.
  export_->stop([this] { services_.loop.post([this] { export_stopped(); }); });
}

void Device::export_stopped() {
  export_.reset();
  report(Severity::info, "exported no more");
  for (const auto& done : std::exchange(export_ends_, {})) done({});
}

void Device::report_slow(const ringio::SlowRequest& request) {
  const auto ms = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-6; };
  report(Severity::warning,
         fmt::format("slow: {} of {} sectors at {} took {:.1f} ms: data in {:.1f}, image {:.1f}, "
                     "data out {:.1f}; {} more were slow before",
                     word(request.op), request.count.n, request.first.n, ms(request.total_ns),
                     ms(request.data_in_ns), ms(request.image_ns), ms(request.data_out_ns),
                     request.untold));
}

}  // namespace xenblk::backend
