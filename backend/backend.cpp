#include "backend/backend.h"

#include <fmt/format.h>
#include <sched.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <utility>

#include "backend/negotiation/values.h"
#include "backend/store.h"

namespace xenblk::backend {

using negotiation::DeviceKey;

namespace {

// A backend directory's watch; a frontend's has its own path as the token.
constexpr std::string_view kKindToken = "kind:";
constexpr const char* kDomainGone = "@releaseDomain";

// Events taken before the devices get their turn, so that one guest that writes without end does
// not keep the others waiting.
constexpr int kMostEvents = 256;

// Everything is looked at now and then, should an event ever be lost; and grants age.
constexpr std::chrono::seconds kLookAtAll{60};

// The components of a path below "backend/<kind>", which may be given absolute or relative.
std::string_view below_kind(std::string_view path, const std::string& kind) {
  const auto prefix = "backend/" + kind;
  const auto at = path.find(prefix);
  if (at == std::string_view::npos) return {};
  path.remove_prefix(at + prefix.size());
  if (path.starts_with('/')) path.remove_prefix(1);
  return path;
}

std::vector<std::uint32_t> allowed_cpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  std::vector<std::uint32_t> cpus;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return cpus;
  for (std::uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  return cpus;
}

// Nothing is offered that the workers have no memory for.
BackendOptions with_what_fits(BackendOptions options) {
  if (options.worker.arena_bytes < ringio::kIndirectArenaBytes) {
    options.offer.max_indirect_segments = 0;
  }
  return options;
}

}  // namespace

Expected<std::unique_ptr<Backend>> Backend::start(Xen& xen, EventLoop& loop, BackendOptions options,
                                                  spdlog::logger& log) {
  std::unique_ptr<Backend> backend(new Backend(loop, std::move(options), log));
  if (auto started = backend->start_workers(xen); !started) {
    return std::unexpected(std::move(started.error()));
  }
  if (auto started = backend->start_exports(); !started) {
    return std::unexpected(std::move(started.error()));
  }
  if (auto watched = backend->watch_store(xen); !watched) {
    return std::unexpected(std::move(watched.error()));
  }
  return backend;
}

Backend::Backend(EventLoop& loop, BackendOptions options, spdlog::logger& log)
    : loop_(loop),
      options_(with_what_fits(std::move(options))),
      log_(log),
      journals_(options_.journal_directory),
      opener_(loop, options_.images, options_.open_image, options_.run_aside),
      schedule_(options_.looks) {}

Expected<void> Backend::start_workers(Xen& xen) {
  const auto cpus = options_.pin_workers ? allowed_cpus() : std::vector<std::uint32_t>{};
  for (std::uint32_t index = 0; index < options_.workers; ++index) {
    auto options = options_.worker;
    options.name = fmt::format("worker-{}", index);
    if (options_.workers <= cpus.size()) options.cpu = cpus[index];
    auto worker = options_.start_worker(xen, std::move(options));
    if (!worker) return std::unexpected(std::move(worker.error()));
    workers_.workers.push_back(std::move(*worker));
  }
  return {};
}

// Now and not with the first export: a confined process makes no more rings.
Expected<void> Backend::start_exports() {
  if (options_.export_directory.empty()) return {};
  auto thread = nbd::ExportThread::start();
  if (!thread) return std::unexpected(std::move(thread.error()));
  exports_ = std::move(*thread);
  return {};
}

Expected<void> Backend::watch_store(Xen& xen) {
  auto store = xen.open_store();
  if (!store) return std::unexpected(std::move(store.error()));
  store_ = std::move(*store);
  if (auto prepared = journals_.prepare(); !prepared) return prepared;
  journals_.remove_strays(*store_, options_.kinds);
  services_.reset(new Services{loop_, *store_, workers_, opener_, journals_, guest_limits_, log_,
                               exports_.get(), options_.export_directory, options_.offer,
                               std::make_shared<std::atomic<std::uint64_t>>(), options_.storage,
                               in_driver_domain()});
  services_->slow_request_ns->store(static_cast<std::uint64_t>(options_.slow_request.count()));
  // Each watch fires once when it is set, and that event is the initial scan.
  for (const auto& kind : options_.kinds) {
    auto watched = store_->watch("backend/" + kind, fmt::format("{}{}", kKindToken, kind));
    if (!watched) return watched;
  }
  // In a driver domain this may be refused; then a guest's end shows in its nodes alone.
  auto watched = store_->watch(kDomainGone, kDomainGone);
  if (!watched && watched.error().code != Errc::permission) return watched;
  loop_.watch_descriptor(store_->fd(), [this] { read_events(); });
  loop_.every(kLookAtAll, [this] { mark_all(), look_around(), age_grants(); });
  // What was queued before the descriptor was watched.
  loop_.post([this] { read_events(); });
  return {};
}

// Each domain finds its number there; domain 0 does so only on some hosts.
bool Backend::in_driver_domain() {
  const auto domain = negotiation::parse_u32(read_node(*store_, "domid").value_or("0"));
  return domain.value_or(0) != 0;
}

void Backend::read_events() {
  for (int count = 0; count < kMostEvents; ++count) {
    const auto event = store_->next_event();
    if (!event) {
      // xenstored cannot be restarted under a running host; disks go on without it.
      log_.critical("XenStore is gone ({}): disks go on, but none can be added or removed",
                    describe(event.error()));
      loop_.forget_descriptor(store_->fd());
      store_is_lost_ = true;
      break;
    }
    if (!*event) break;
    on_event(**event);
    // The library may hold more events than its descriptor shows.
    if (count + 1 == kMostEvents) loop_.post([this] { read_events(); });
  }
  look_around();
}

void Backend::on_event(const WatchEvent& event) {
  if (event.token == kDomainGone) return mark_all();
  for (const auto& kind : options_.kinds) {
    if (event.token == fmt::format("{}{}", kKindToken, kind)) {
      const auto below = below_kind(event.path, kind);
      if (below.empty()) return scan_kind(kind);
      if (!below.contains('/')) return scan_domain(kind, std::string(below));
      const auto key = negotiation::device_of_path(event.path, kind);
      // What is above the nodes was made or removed, which is not our doing.
      const bool is_directory = std::ranges::count(below, '/') == 1;
      if (key) schedule_.changed(*key, is_directory ? Change::all : Change::backend);
      return;
    }
    if (const auto key = negotiation::device_of_path(event.token, kind)) {
      return schedule_.changed(*key, Change::frontend);
    }
  }
}

void Backend::scan_kind(const std::string& kind) {
  const auto domains = store_->list("backend/" + kind);
  if (!domains) return;
  for (const auto& domain : *domains) scan_domain(kind, domain);
}

void Backend::scan_domain(const std::string& kind, const std::string& domain) {
  const auto directory = fmt::format("backend/{}/{}", kind, domain);
  if (const auto names = store_->list(directory)) {
    for (const auto& device : *names) {
      if (const auto key =
              negotiation::device_of_path(fmt::format("{}/{}", directory, device), kind)) {
        schedule_.changed(*key, Change::all);
      }
    }
  }
  // And those that are not listed any more.
  for (const auto& [key, device] : devices_) {
    if (key.kind == kind && std::to_string(key.domain.n) == domain) {
      schedule_.changed(key, Change::all);
    }
  }
}

void Backend::mark_all() {
  for (const auto& [key, device] : devices_) schedule_.changed(key, Change::all);
}

// Posted, so that a device is never looked at from inside one of its own functions.
void Backend::look_at(const DeviceKey& key, Change change) {
  loop_.post([this, key, change] {
    schedule_.changed(key, change);
    look_around();
  });
}

void Backend::look_around() {
  const auto due = schedule_.take(loop_.now());
  for (const auto& key : due.put_off) {
    if (const auto found = devices_.find(key); found != devices_.end()) {
      found->second->look_was_put_off();
    }
  }
  for (const auto& look : due.looks) reconcile(look);
  look_later();
  if (settled_) settled_();
  if (detached_) finish_detach();
}

// At those that are put off.
void Backend::look_later() {
  const auto wait = schedule_.wait(loop_.now());
  if (!wait || std::exchange(will_look_later_, true)) return;
  loop_.after(std::chrono::ceil<std::chrono::milliseconds>(*wait), [this] {
    will_look_later_ = false;
    look_around();
  });
}

void Backend::reconcile(const Look& look) {
  // What cannot be read any more has not gone.
  if (store_is_lost_ && !detached_) return;
  auto* device = find_or_make(look.key);
  if (device == nullptr || device->reconcile(look.sight) == Device::Outcome::alive) return;
  devices_.erase(look.key);
  schedule_.gone(look.key);
  // A directory that was removed and made again is a new device: the next turn finds it.
  if (!detached_) look_at(look.key, Change::all);
}

Device* Backend::find_or_make(const DeviceKey& key) {
  if (const auto found = devices_.find(key); found != devices_.end()) return found->second.get();
  if (detached_ || !read_node(*store_, negotiation::backend_path(key) + "/frontend")) return {};
  schedule_.made(key);
  auto device =
      std::make_unique<Device>(*services_, key, [this, key] { look_at(key, Change::backend); });
  return devices_.emplace(key, std::move(device)).first->second.get();
}

void Backend::detach(std::function<void()> done) {
  detached_ = std::move(done);
  for (const auto& [key, device] : devices_) {
    device->detach();
    schedule_.changed(key, Change::all);
  }
  look_around();
}

void Backend::reload(const BackendOptions& options) {
  const auto now = with_what_fits(options);
  services_->offer = now.offer;
  services_->storage = now.storage;
  services_->slow_request_ns->store(static_cast<std::uint64_t>(now.slow_request.count()));
  for (const auto& worker : workers_.workers) worker->set_polling(now.worker.polling);
}

void Backend::reread_capacities() {
  for (const auto& [key, device] : devices_) device->reread_capacity();
}

void Backend::age_grants() {
  for (const auto& [key, device] : devices_) device->age_grants();
}

void Backend::finish_detach() {
  if (!devices_.empty()) return;
  // Once, and not from inside: the caller may destroy us.
  loop_.post(std::exchange(detached_, [] {}));
}

}  // namespace xenblk::backend
