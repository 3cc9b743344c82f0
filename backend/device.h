// One virtual disk of one guest: reads XenStore, asks negotiation::decide() what to do, and does
// it.
#pragma once

#include <atomic>
#include <bitset>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "backend/device_nodes.h"
#include "backend/device_status.h"
#include "backend/disk_rings.h"
#include "backend/event_loop.h"
#include "backend/guest_limits.h"
#include "backend/image_opener.h"
#include "backend/log_budget.h"
#include "backend/look_schedule.h"
#include "backend/negotiation/device_state.h"
#include "backend/negotiation/offer.h"
#include "backend/negotiation/paths.h"
#include "backend/negotiation/session.h"
#include "backend/ring_journals.h"
#include "backend/storage_wishes.h"
#include "nbd/export.h"
#include "xenblk/xen.h"

namespace spdlog {
class logger;
}  // namespace spdlog

namespace xenblk::backend {

// What devices share; borrowed, and longer-lived than any of them.
struct Services {
  EventLoop& loop;
  XenStore& store;
  WorkerPool& workers;
  ImageOpener& opener;
  const RingJournals& journals;
  GuestLimits& guest_limits;
  spdlog::logger& log;
  nbd::ExportThread* exports;  // none: disks are not exported
  const std::string& export_directory;
  negotiation::Offer offer;  // to disks that are offered from now on
  std::shared_ptr<std::atomic<std::uint64_t>> slow_request_ns;  // 0: none is reported
  StorageWishes storage;                                        // of disks that connect from now on
  bool in_driver_domain = false;                                // not in domain 0
};

// Pinned; used by the loop's thread. Destroyed only after reconcile() has answered `gone`.
class Device {
 public:
  // `changed` is called, on the loop's thread, when reconcile() is due because something that was
  // started has finished. It must not call reconcile() itself.
  Device(Services& services, negotiation::DeviceKey key, std::function<void()> changed);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  enum class Outcome : std::uint8_t { alive, gone };

  // Looks at XenStore and does what is due. Cheap when nothing is. `gone`: nothing is left of the
  // device. The frontend's side is read once at most, however often the guest writes it meanwhile.
  Outcome reconcile(Sight sight);

  // The guest changes its side more often than it is looked at, and is not heard until the next
  // reconcile() that reads it.
  void look_was_put_off();

  // From now on reconcile() gives everything back but leaves XenStore as it is, so that a frontend
  // that is connected waits for the daemon that comes after us.
  void detach() { detaching_ = true; }

  // Looks whether the image has grown, and tells the guest. In its own time.
  void reread_capacity();

  void age_grants() { rings_.age_grants(); }

  const negotiation::DeviceKey& key() const { return key_; }

  // --- device_control.cpp: what an administrator asks for. A `done` runs on the loop's thread, now
  // or later, also when the device is gone by then.
  DeviceStatus status() const;
  using Done = std::function<void(Expected<void>)>;
  // Takes no requests until resume(), or until the guest connects anew. `done`: all that were taken
  // are answered. Errors: refused (no guest is connected).
  void pause(Done done);
  Expected<void> resume();
  // From now on, and for as long as the disk is attached, also under the daemons after us. Errors:
  // those of publish(), refused (it is just being removed).
  Expected<void> set_limits(const ringio::RateLimits& limits);
  // Those of its guest, for the daemons after us alone: see Backend::set_guest_limits. Errors: as
  // above.
  Expected<void> note_guest_limits(const ringio::RateLimits& limits);
  // Those that wait for a limit ask again.
  void wake() { rings_.wake(); }
  // Asks as the toolstack does: the guest lets go of the disk, then it is closed. Errors: those of
  // publish(), refused (there is nothing to close).
  Expected<void> request_close();
  // Nothing is connected or open.
  bool at_rest() const;
  // Makes the image larger and tells the guest. Errors: refused, and those of Image::grow and
  // vhd::ImageRegistry::resize.
  void grow(SectorCount capacity, Done done);
  // Looks at the image while its guest waits. Errors: refused, those of vhd::ImageRegistry::check.
  using CheckDone = std::function<void(Expected<vhd::CheckReport>)>;
  void check(const vhd::CheckOptions& options, CheckDone done);
  // live_coalesce.cpp: begins to merge the image into its parent, no faster than this (0: at once).
  // `done`: it is under way. Errors: refused, those of vhd::ImageRegistry::open_merge_parent.
  void coalesce(std::uint64_t bytes_per_second, Done done);
  // live_snapshot.cpp: what the guest writes from now on goes to a new child of the image, which
  // `params` names then. Errors: refused, those of vhd::ImageRegistry::make_child and of publish().
  void snapshot(const std::string& child_path, Done done);
  // Serves the disk to NBD clients until stop_export(), or until its image is closed; a guest may
  // have it at the same time. `socket` is a name in the directory for it, or the whole path.
  // Errors: refused (no image is open, or the disk is read-only, or exported already), bad_spec
  // (the socket lies elsewhere), and those of nbd::Export::start.
  Expected<void> start_export(const std::string& socket, Access access);
  // `done`: no client is connected any more, and the socket is gone. Errors: refused (it is not
  // exported).
  void stop_export(Done done);

 private:
  enum class Progress : std::uint8_t { next, wait, gone };
  Progress step();
  void hear_frontend();
  void ignore_frontend();
  bool frontend_is_as_known() const;
  bool store_answers();
  Progress carry_out(negotiation::Action action, const negotiation::Seen& seen);
  // What became of an action: `again` when XenStore has changed meanwhile, `refused` when it will
  // not take what we write; neither counts as carried out.
  enum class Result : std::uint8_t { done, again, refused };
  Result perform(negotiation::Action action, const negotiation::Seen& seen);
  Result publish_nodes(const negotiation::Seen& seen, std::vector<negotiation::Node> nodes);
  Result publish_state(const negotiation::Seen& seen, negotiation::XenbusState state,
                       std::vector<negotiation::Node> nodes = {});

  Result offer(const negotiation::Seen& seen);
  void open_image();
  void image_opened(Expected<std::shared_ptr<Image>> image);
  void join_guest();
  void leave_drive_empty(const Error& error);
  void close_image();
  void export_stopped();
  void connect_rings();
  negotiation::Offer standing_offer() const;
  void rings_connected(Expected<void> result, const negotiation::Session& session);
  void disconnect_rings();
  Result publish_connected(const negotiation::Seen& seen);
  bool offers_discard() const;
  negotiation::DiskProperties properties() const;
  // image_change.cpp: what is done to the image between two requests.
  Expected<void> can_change() const;
  Expected<void> not_changing() const;
  Expected<void> not_merging() const;
  Expected<void> note(std::span<const negotiation::Node> nodes);
  void resize_between(SectorCount capacity, Done done);
  void change_image(ImageOpener::ImageChange change, Done done);
  void take_image_away(std::function<void()> taken);
  void image_changed(vhd::Changed changed, const Done& done);
  void change_ended(const Expected<void>& outcome, const Done& done);
  struct Snapshot;
  void move_to_child(const std::shared_ptr<Snapshot>& plan);
  void move_back(const std::shared_ptr<Snapshot>& plan, std::shared_ptr<Image> child,
                 const Error& reason);
  void note_successor(const Snapshot& plan);
  void begin_merge(const std::shared_ptr<vhd::ImageRegistry::MergeParent>& parent,
                   std::uint64_t bytes_per_second, const Done& done);
  void merge_ended(const Expected<void>& ended);
  void go_on_in_parent();
  void abort_merge(const Error& reason);
  void merge_over(vhd::Changed changed, const std::optional<Error>& reason);
  Expected<void> name_image(const std::string& params);
  void give_image_back(const std::function<void()>& given);
  void capacity_read(const Expected<SectorCount>& capacity);
  void tell_growth();
  Result publish_grown(const negotiation::Seen& seen);
  Result tell_failure(const negotiation::Seen& seen);
  void forget();
  void report_trouble(std::size_t queue, const ringio::QueueNotice& notice);
  void report_slow(const ringio::SlowRequest& request);
  // --- device_takeover.cpp: a daemon before us served the disk.
  static bool was_served(negotiation::XenbusState backend);
  // After a failure while the disk is taken over; nothing: it is given up.
  enum class Patience : std::uint8_t { for_the_dead, for_the_storage };
  std::optional<std::chrono::milliseconds> try_again_in(const Error& error, Patience patience);
  void tell_wait(std::string reason);
  // --- device_storage.cpp: a storage that fails.
  ringio::StoragePolicy storage_policy() const;
  void storage_changed(std::size_t queue, const ringio::StorageNotice& notice);
  void recall_storage_state();
  void publish_storage_state();
  void forget_storage_waits();
  enum class Severity : std::uint8_t { info, warning, error };
  void report(Severity severity, std::string_view text);
  void write_line(Severity severity, std::string_view text);

  Services& services_;
  const negotiation::DeviceKey key_;
  const std::string name_;
  const std::function<void()> changed_;

  negotiation::Own own_;
  std::optional<negotiation::Offer> offered_;  // to this frontend; none: by an earlier daemon
  DiskRequest request_;
  std::shared_ptr<Image> image_;
  // What the toolstack has put into the drive that the guest has, whether or not it could be
  // opened; none for disks that are no drives.
  std::optional<std::string> medium_;
  bool drive_is_empty_ = false;          // image_ is an EmptyMedium
  std::unique_ptr<nbd::Export> export_;  // only while image_ is open or closing
  std::vector<Done> export_ends_;        // those who wait for that; not empty: it is being stopped
  DiskRings rings_;
  std::shared_ptr<ringio::RateLimiter> limiter_ = std::make_shared<ringio::RateLimiter>();
  std::shared_ptr<GuestLimit> guest_limit_;
  std::optional<SessionStatus> session_;  // of the rings that are connected
  ringio::StoragePolicy policy_;          // of those rings
  // All queues refuse everything; until an administrator says otherwise, whoever connects.
  std::shared_ptr<std::atomic<bool>> refuses_ = std::make_shared<std::atomic<bool>>();
  std::set<std::size_t> storage_waits_;      // queues that wait for the storage
  std::string failure_;                      // why the image or the rings failed
  std::optional<FrontendReading> frontend_;  // by the last look at it
  bool nothing_to_do_ = false;               // by the last look at all, until something changes
  std::string frontend_problem_;
  std::uint64_t looks_put_off_ = 0;
  LogBudget log_budget_;
  // Each kind is told once, however many lines the guest has caused before.
  std::bitset<ringio::kTroubleKinds> troubles_named_;
  SectorCount published_;  // the size that the guest was told last
  // What was started for this device and comes back when it is gone finds out by this.
  std::shared_ptr<Device*> self_ = std::make_shared<Device*>(this);
  bool detaching_ = false;
  // The guest is connected to rings that a daemon before us served, until we serve them.
  bool taking_over_ = false;
  bool rings_may_be_new_ = false;
  unsigned waits_ = 0;  // for what that daemon has yet to let go of
  bool watching_ = false;
  bool paused_ = false;
  bool merging_ = false;              // image_ is a vhd::MergingImage
  std::optional<MergeStatus> merge_;  // the last one
  bool changing_ = false;             // image_ is away; nothing else is done until it is back
};

}  // namespace xenblk::backend
