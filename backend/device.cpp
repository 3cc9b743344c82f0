#include "backend/device.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "backend/empty_medium.h"
#include "backend/negotiation/layout_name.h"
#include "backend/negotiation/standing_offer.h"
#include "backend/store.h"

namespace xenblk::backend {

using negotiation::Action;
using negotiation::ImagePhase;
using negotiation::Node;
using negotiation::RingPhase;
using negotiation::Seen;
using negotiation::Session;
using negotiation::XenbusState;

namespace {

// Steps that one wake-up may take. A whole life from offer to Closed needs fewer; more means that
// somebody changes XenStore as fast as we read it, and then other devices get their turn first.
constexpr int kMostSteps = 24;

constexpr std::chrono::milliseconds kUntilStoreIsAskedAgain{100};
constexpr std::chrono::milliseconds kUntilChanged{20};  // of what is done to an image

std::string describe_session(const Session& session) {
  return fmt::format("{} queue(s), {} ring page(s), {} layout", session.queues.size(),
                     1U << session.ring_order, negotiation::name(session.layout));
}

}  // namespace

Device::Device(Services& services, negotiation::DeviceKey key, std::function<void()> changed)
    : services_(services),
      key_(std::move(key)),
      name_(negotiation::display_name(key_)),
      changed_(std::move(changed)),
      rings_(services.loop, services.workers),
      guest_limit_(services.guest_limits.of(key_.domain)) {
  hear_frontend();
}

Device::~Device() {
  ignore_frontend();
}

// Without the watch the device still works, only later: every device is looked at now and then.
void Device::hear_frontend() {
  if (watching_) return;
  const auto state = negotiation::frontend_path(key_) + "/state";
  watching_ = services_.store.watch(state, negotiation::backend_path(key_)).has_value();
}

void Device::ignore_frontend() {
  const auto state = negotiation::frontend_path(key_) + "/state";
  if (std::exchange(watching_, false)) {
    services_.store.unwatch(state, negotiation::backend_path(key_));
  }
}

void Device::look_was_put_off() {
  // The next look that reads it hears it again, which is an event of its own: nothing is missed.
  ignore_frontend();
  if (looks_put_off_++ > 0) return;
  write_line(Severity::warning,
             "the guest changes its state without end; it is looked at now and then, and that is "
             "only counted from now on");
}

Device::Outcome Device::reconcile(Sight sight) {
  if (sight != Sight::backend) hear_frontend();
  // Most of what a guest writes without end is what stands there already.
  if (sight == Sight::frontend && frontend_is_as_known()) return Outcome::alive;
  if (sight != Sight::backend) frontend_.reset();
  nothing_to_do_ = false;
  for (int steps = 0; steps < kMostSteps; ++steps) {
    switch (step()) {
      case Progress::next:
        break;
      case Progress::wait:
        return Outcome::alive;
      case Progress::gone:
        return Outcome::gone;
    }
  }
  changed_();
  return Outcome::alive;
}

bool Device::frontend_is_as_known() const {
  return nothing_to_do_ && !detaching_ && frontend_ == read_frontend(services_.store, key_);
}

Device::Progress Device::step() {
  if (changing_) return Progress::wait;
  // To a device that is being detached XenStore has nothing to say any more: it winds up as if its
  // directory had gone.
  auto reading = detaching_ ? Reading{} : read_device(services_.store, key_, medium_, frontend_);
  if (!detaching_ && !store_answers()) {
    frontend_.reset();
    services_.loop.after(kUntilStoreIsAskedAgain, changed_);
    return Progress::wait;
  }
  reading.seen.ours_to_remove = services_.in_driver_domain;
  frontend_problem_ = std::move(reading.frontend_problem);
  own_ = negotiation::observe(own_, reading.seen);
  const auto action = negotiation::decide(own_, reading.seen);
  nothing_to_do_ = action == Action::wait;
  if (nothing_to_do_) return Progress::wait;
  services_.log.debug("{}: {} (frontend {}, backend {})", name_, negotiation::name(action),
                      negotiation::name(reading.seen.frontend),
                      negotiation::name(reading.seen.backend));
  return carry_out(action, reading.seen);
}

// A XenStore that is lost says of nothing that it has gone: asked after all else was read.
bool Device::store_answers() {
  const auto state = services_.store.read(negotiation::backend_path(key_) + "/state");
  if (state) return true;
  return state.error().code == Errc::not_found || state.error().code == Errc::permission;
}

Device::Progress Device::carry_out(Action action, const Seen& seen) {
  if (action == Action::forget) {
    forget();
    return Progress::gone;
  }
  // The phases are entered before the work starts: its result may be there before the call returns.
  const auto before = std::exchange(own_, negotiation::after(action, own_, seen));
  const auto result = perform(action, seen);
  if (result != Result::done) own_ = before;
  return result == Result::refused ? Progress::wait : Progress::next;
}

Device::Result Device::perform(Action action, const Seen& seen) {
  switch (action) {
    case Action::offer:
      return offer(seen);
    case Action::tell_image:
      return publish_nodes(seen, {{"image-state", "open"}});
    case Action::publish_connected:
      return publish_connected(seen);
    case Action::tell_failure:
      return tell_failure(seen);
    case Action::state_closing:
      return publish_state(seen, XenbusState::closing);
    case Action::state_closed:
      services_.journals.remove(key_);
      return publish_state(seen, XenbusState::closed);
    case Action::tell_shutdown:
      return publish_nodes(seen, {{"shutdown-done", ""}});
    case Action::remove_directory:
      return services_.store.remove(negotiation::backend_path(key_)) ? Result::done
                                                                     : Result::refused;
    case Action::open_image:
      taking_over_ = !offered_ && was_served(seen.backend);
      open_image();
      break;
    case Action::connect_rings:
      // One that has gone on from there uses its rings; another may be about to.
      rings_may_be_new_ = seen.frontend == XenbusState::initialised;
      connect_rings();
      break;
    case Action::disconnect_rings:
      disconnect_rings();
      break;
    case Action::close_image:
      close_image();
      break;
    case Action::wait:
    case Action::forget:
      break;
  }
  return Result::done;
}

Device::Result Device::publish_nodes(const Seen& seen, std::vector<Node> nodes) {
  const auto directory = negotiation::backend_path(key_);
  const auto result = publish(services_.store, directory, seen.backend, nodes);
  if (result) return *result == Published::done ? Result::done : Result::again;
  report(Severity::error, fmt::format("cannot publish: {}", describe(result.error())));
  return Result::refused;
}

Device::Result Device::publish_state(const Seen& seen, XenbusState state, std::vector<Node> nodes) {
  // Last, so that a reader of a store without transactions would see the state after what it stands
  // for.
  nodes.push_back({"state", std::to_string(static_cast<int>(state))});
  return publish_nodes(seen, std::move(nodes));
}

Device::Result Device::offer(const Seen& seen) {
  auto offered = services_.offer;
  if (const auto persistent = read_persistent_grants(services_.store, key_); !persistent) {
    report(Severity::warning, describe(persistent.error()));
  } else if (*persistent) {
    offered.persistent_grants = **persistent;
  }
  auto nodes = negotiation::offer_nodes(offered);
  nodes.push_back({"image-state", "opening"});
  const auto result = publish_state(seen, XenbusState::init_wait, std::move(nodes));
  if (result != Result::done) return result;
  services_.journals.remove(key_);
  taking_over_ = false;
  offered_ = offered;
  failure_.clear();
  static_cast<void>(services_.store.remove(negotiation::error_path(key_)));
  return result;
}

void Device::open_image() {
  auto request = read_disk_request(services_.store, key_);
  if (!request) return image_opened(std::unexpected(std::move(request.error())));
  request_ = std::move(*request);
  limiter_->set(request_.limits);
  join_guest();
  const bool guest_has_drive = request_.cdrom && (medium_ || !offered_);
  if (request_.cdrom) medium_ = request_.params;
  if (guest_has_drive) static_cast<void>(services_.store.remove(negotiation::error_path(key_)));
  drive_is_empty_ = request_.cdrom && request_.params.empty();
  if (drive_is_empty_) return image_opened(std::make_shared<EmptyMedium>());
  const auto patience = guest_has_drive ? Patience::for_the_dead : Patience::for_the_storage;
  services_.opener.open(
      request_.params, request_.access,
      [this, guest_has_drive, patience](Expected<std::shared_ptr<Image>> image) {
        const auto wait = image ? std::nullopt : try_again_in(image.error(), patience);
        if (wait) {
          return services_.loop.after(*wait, [this] { open_image(), changed_(); });
        }
        if (!image && guest_has_drive) {
          leave_drive_empty(image.error());
        } else {
          image_opened(std::move(image));
        }
        changed_();
      });
}

void Device::join_guest() {
  auto& limit = *guest_limit_;
  if (!limit.known && !request_.guest_limits) return;
  if (!limit.known) limit.limiter.set(*request_.guest_limits);
  limit.known = true;
  if (request_.guest_limits == limit.limiter.get()) return;
  if (const auto noted = note_guest_limits(limit.limiter.get()); !noted) {
    report(Severity::warning, "its guest's limits are not noted: " + describe(noted.error()));
  }
}

// The guest has the drive already and goes on without a medium, until the toolstack names another
// one.
void Device::leave_drive_empty(const Error& error) {
  const auto reason = fmt::format("the drive is empty: {}", describe(error));
  report(Severity::error, reason);
  static_cast<void>(services_.store.write(negotiation::error_path(key_) + "/error", reason));
  drive_is_empty_ = true;
  image_opened(std::make_shared<EmptyMedium>());
}

void Device::image_opened(Expected<std::shared_ptr<Image>> image) {
  own_.image = image ? ImagePhase::open : ImagePhase::failed;
  if (!image) {
    failure_ = describe(image.error());
    medium_.reset();
    return;
  }
  failure_.clear();
  image_ = std::move(*image);
  report(Severity::info, fmt::format("{} image of {} sectors is open", image_->info().format,
                                     image_->info().capacity.n));
}

void Device::close_image() {
  // Clients of the export go first: the image is closed when nobody uses it.
  if (export_) return stop_export([this](const Expected<void>&) { close_image(); });
  if (drive_is_empty_) {
    image_.reset();
    own_.image = ImagePhase::none;
    return;
  }
  if (std::exchange(merging_, false)) {
    merge_->state = MergeStatus::State::failed;
    merge_->failure = "the disk was closed before all was merged";
  }
  services_.opener.close(std::exchange(image_, {}), [this](const Expected<void>& closed) {
    if (!closed) report(Severity::error, fmt::format("closing: {}", describe(closed.error())));
    own_.image = ImagePhase::none;
    changed_();
  });
}

void Device::connect_rings() {
  const auto directory = negotiation::frontend_path(key_);
  const auto nodes = [&](std::string_view node) {
    return read_node(services_.store, fmt::format("{}/{}", directory, node));
  };
  if (!offered_) offered_ = standing_offer();
  const auto session = negotiation::negotiate(*offered_, nodes);
  if (!session) return rings_connected(std::unexpected(session.error()), {});
  policy_ = storage_policy();
  if (taking_over_) recall_storage_state();
  const RingPlan plan{
      .peer = key_.domain,
      .device = key_.device,
      .image = image_,
      .access = request_.access,
      .logical_sector_bytes = offered_->logical_sector_bytes,
      .offer_discard = offers_discard(),
      .persistent_grants = session->persistent_grants,
      .indirect_segments_max = offered_->max_indirect_segments,
      .limiter = limiter_,
      .guest_limiter = {guest_limit_, &guest_limit_->limiter},
      .slow = {.threshold_ns = services_.slow_request_ns,
               .tell =
                   [this](const ringio::SlowRequest& request) {
                     services_.loop.post([this, request] { report_slow(request); });
                   }},
      .policy = policy_,
      .refuses = refuses_,
      .notice =
          [this](std::size_t queue, const ringio::QueueNotice& notice) {
            services_.loop.post([this, queue, notice] { report_trouble(queue, notice); });
          },
      .storage_notice =
          [this](std::size_t queue, const ringio::StorageNotice& notice) {
            services_.loop.post([this, queue, notice] { storage_changed(queue, notice); });
          },
      .journal =
          [&](std::size_t queue) {
            auto place = services_.journals.place(key_, *session, queue);
            if (place) place->take_over = taking_over_;
            if (place) place->may_be_new = rings_may_be_new_;
            return place;
          }};
  rings_.connect(*session, plan, [this, session = *session](Expected<void> result) {
    const auto wait = result ? std::nullopt : try_again_in(result.error(), Patience::for_the_dead);
    if (wait) return services_.loop.after(*wait, [this] { connect_rings(), changed_(); });
    rings_connected(std::move(result), session);
    changed_();
  });
}

negotiation::Offer Device::standing_offer() const {
  const auto directory = negotiation::backend_path(key_);
  return negotiation::standing_offer([&](std::string_view node) {
    return read_node(services_.store, fmt::format("{}/{}", directory, node));
  });
}

void Device::rings_connected(Expected<void> result, const Session& session) {
  paused_ = false;
  session_.reset();
  if (result) {
    own_.rings = RingPhase::connected;
    session_ = {session.layout, session.ring_order, session.persistent_grants};
    report(Severity::info, fmt::format("{}: {}", taking_over_ ? "taken over" : "connected",
                                       describe_session(session)));
    if (taking_over_) static_cast<void>(services_.store.remove(negotiation::error_path(key_)));
    taking_over_ = false;
    waits_ = 0;
    return;
  }
  failure_ = describe(result.error());
  const bool keep = taking_over_ && result.error().code == Errc::bad_journal;
  own_.rings = keep ? RingPhase::held : RingPhase::failed;
  if (keep) failure_ += "; the disk is left as it is until it is detached or its guest ends";
}

void Device::disconnect_rings() {
  const auto done = [this] {
    own_.rings = RingPhase::none;
    session_.reset();
    paused_ = false;
    forget_storage_waits();
    report(Severity::info, "disconnected");
    changed_();
  };
  detaching_ ? rings_.detach(done) : rings_.disconnect(done);
}

Device::Result Device::publish_connected(const Seen& seen) {
  const auto disk = properties();
  auto nodes = negotiation::property_nodes(disk);
  // The process to which the statistics of a XenServer host charge the disk.
  nodes.push_back({"kthread-pid", std::to_string(::getpid())});
  const auto result = publish_state(seen, XenbusState::connected, std::move(nodes));
  if (result == Result::done) published_ = disk.capacity;
  return result;
}

negotiation::DiskProperties Device::properties() const {
  const auto& info = image_->info();
  const auto logical = offered_->logical_sector_bytes;
  return {.capacity = negotiation::whole_sectors(image_->capacity(), logical),
          .logical_sector_bytes = logical,
          .physical_sector_bytes = info.physical_sector_bytes,
          .access = request_.access,
          .cdrom = request_.cdrom,
          .removable = request_.removable,
          .persistent_grants = offered_->persistent_grants,
          .discard = offers_discard(),
          .discard_granularity_bytes = info.physical_sector_bytes};
}

void Device::reread_capacity() {
  if (own_.image != ImagePhase::open || detaching_ || drive_is_empty_ || changing_) return;
  const std::weak_ptr<Device*> self = self_;
  services_.opener.reread(image_, [self](const Expected<SectorCount>& capacity) {
    if (const auto device = self.lock()) (*device)->capacity_read(capacity);
  });
}

void Device::capacity_read(const Expected<SectorCount>& capacity) {
  if (!capacity) {
    const bool harmless = capacity.error().code == Errc::unsupported_image;
    report(harmless ? Severity::info : Severity::error,
           fmt::format("stays as large as it is: {}", describe(capacity.error())));
    return;
  }
  // The image may be open for several disks, and each tells its own guest. One that is smaller than
  // what a guest was told has been refused by the image; a disk never shrinks under a guest.
  if (own_.image != ImagePhase::open || own_.rings != RingPhase::connected) return;
  const std::weak_ptr<Device*> self = self_;
  if (changing_) {
    return services_.loop.after(kUntilChanged, [self, capacity] {
      if (const auto device = self.lock()) (*device)->capacity_read(capacity);
    });
  }
  if (capacity->n < published_.n) return;
  // First those who serve it, then the guest.
  rings_.set_capacity(*capacity, [self] {
    if (const auto device = self.lock()) (*device)->tell_growth();
  });
}

void Device::tell_growth() {
  if (own_.image != ImagePhase::open || changing_) return;
  for (int attempt = 0; attempt < kMostSteps; ++attempt) {
    const auto seen = read_device(services_.store, key_, medium_).seen;
    if (own_.state != XenbusState::connected || seen.backend != XenbusState::connected) return;
    if (publish_grown(seen) != Result::again) return;
  }
}

// Connected is written again although it stands there: a guest looks at `sectors` when it does.
Device::Result Device::publish_grown(const Seen& seen) {
  const auto capacity = properties().capacity;
  if (capacity == published_) return Result::done;
  const auto result =
      publish_state(seen, XenbusState::connected, {{"sectors", std::to_string(capacity.n)}});
  if (result != Result::done) return result;
  report(Severity::info, fmt::format("has grown from {} to {} sectors", published_.n, capacity.n));
  published_ = capacity;
  return result;
}

bool Device::offers_discard() const {
  return request_.discard && request_.access == Access::read_write && image_->info().discard;
}

Device::Result Device::tell_failure(const Seen& seen) {
  const bool of_image = own_.image == ImagePhase::failed;
  const auto reason = !failure_.empty()            ? failure_
                      : !frontend_problem_.empty() ? frontend_problem_
                                                   : fmt::format("the frontend's state is {}",
                                                                 negotiation::name(seen.frontend));
  std::vector<Node> nodes{{"hotplug-error", reason}};
  if (of_image) nodes.push_back({"image-state", "failed"});
  const auto result = publish_nodes(seen, std::move(nodes));
  if (result != Result::done) return result;
  report(Severity::error, reason);
  static_cast<void>(services_.store.write(negotiation::error_path(key_) + "/error", reason));
  return result;
}

void Device::forget() {
  if (!detaching_) {
    static_cast<void>(services_.store.remove(negotiation::error_path(key_)));
    services_.journals.remove(key_);
  }
  report(Severity::info, detaching_ ? "left to the next daemon" : "gone");
}

}  // namespace xenblk::backend
