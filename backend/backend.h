// The backend: finds the devices of its kinds in XenStore and keeps each of them going.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/device.h"
#include "backend/disk_rings.h"
#include "backend/event_loop.h"
#include "backend/guest_limits.h"
#include "backend/image_opener.h"
#include "backend/look_schedule.h"
#include "backend/negotiation/offer.h"
#include "backend/ring_journals.h"
#include "backend/storage_wishes.h"
#include "nbd/export_thread.h"
#include "ringio/worker.h"
#include "xenblk/error.h"
#include "xenblk/xen.h"

namespace spdlog {
class logger;
}

namespace xenblk::backend {

struct BackendOptions {
  std::vector<std::string> kinds{"vbd", "vbd3"};  // backend/<kind> directories to serve
  // Where requests in flight are noted, so that a daemon which finds connected guests can go on
  // with them. Memory, not a disk: a file system that is lost with its guests. Empty: none, and
  // only a daemon that ended in good order can be followed.
  std::string journal_directory;
  // Where the sockets lie at which disks are served to NBD clients. Empty: no disk is, and the
  // thread for it is not started.
  std::string export_directory;
  negotiation::Offer offer;
  std::uint32_t workers = 1;
  bool pin_workers = false;  // each to a CPU of its own, if there are as many
  ringio::WorkerOptions worker;
  vhd::ImageRegistryOptions images;
  std::chrono::nanoseconds slow_request{0};  // what takes longer is logged; 0: nothing is
  StorageWishes storage;                     // for disks that connect from now on
  LookRate looks;                            // at what guests write
  ImageOpener::OpenImage open_image;         // stands in for image files
  // For a simulator, which has no threads: see ringio::Worker::start and ImageOpener.
  using StartWorker =
      std::function<Expected<std::unique_ptr<ringio::Worker>>(Xen&, ringio::WorkerOptions)>;
  StartWorker start_worker = &ringio::Worker::start;
  ImageOpener::RunAside run_aside;
};

// Pinned; used by the loop's thread. Destroyed only after detach() is done.
class Backend {
 public:
  // Looks at all devices that are there already, on the loop's first turn. `xen`, `loop` and `log`
  // are borrowed. Errors: unavailable (no Xen, no XenStore), and those of ringio::Worker::start.
  static Expected<std::unique_ptr<Backend>> start(Xen& xen, EventLoop& loop, BackendOptions options,
                                                  spdlog::logger& log);

  // Drains and releases every device but leaves XenStore as it is: connected frontends wait for the
  // next daemon. `done` runs when nothing is mapped, bound or open any more.
  void detach(std::function<void()> done);

  // Takes over what can change while disks are served: the offer, for disks that are offered from
  // now on, polling, and what counts as slow.
  void reload(const BackendOptions& options);

  // guest_limits.cpp: what all disks of this guest may have together, those that come later
  // included, from now on and under the daemons after us. Errors: not_found (it has none here), and
  // those of Device::set_limits; nothing has changed then.
  Expected<void> set_guest_limits(DomainId guest, const ringio::RateLimits& limits);

  // Looks whether images have grown, and tells their guests.
  void reread_capacities();

  // A minute has gone; start() sees to that.
  void age_grants();

  // What there is now; for the control socket. Valid until the loop's next turn.
  const std::map<negotiation::DeviceKey, std::unique_ptr<Device>>& devices() const {
    return devices_;
  }
  bool is_detaching() const { return detached_ != nullptr; }
  const WorkerPool& workers() const { return workers_; }
  XenStore& store() { return *store_; }
  // `settled` runs each time after devices were looked at.
  void on_settled(std::function<void()> settled) { settled_ = std::move(settled); }

 private:
  Backend(EventLoop& loop, BackendOptions options, spdlog::logger& log);
  Expected<void> start_workers(Xen& xen);
  Expected<void> start_exports();
  Expected<void> watch_store(Xen& xen);
  bool in_driver_domain();
  void read_events();
  void on_event(const WatchEvent& event);
  void scan_kind(const std::string& kind);
  void scan_domain(const std::string& kind, const std::string& domain);
  void mark_all();
  void look_at(const negotiation::DeviceKey& key, Change change);
  void look_around();
  void look_later();
  void reconcile(const Look& look);
  Device* find_or_make(const negotiation::DeviceKey& key);
  void finish_detach();

  EventLoop& loop_;
  const BackendOptions options_;
  spdlog::logger& log_;
  std::unique_ptr<XenStore> store_;
  WorkerPool workers_;
  const RingJournals journals_;
  GuestLimits guest_limits_;
  ImageOpener opener_;
  std::unique_ptr<nbd::ExportThread> exports_;
  std::unique_ptr<Services> services_;
  LookSchedule schedule_;
  bool will_look_later_ = false;
  std::map<negotiation::DeviceKey, std::unique_ptr<Device>> devices_;
  std::function<void()> detached_;
  bool store_is_lost_ = false;
  std::function<void()> settled_;
};

}  // namespace xenblk::backend
