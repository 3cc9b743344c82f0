// What is done to the image of a device between two requests of its guest: the rings come to rest,
// hold nothing of the image, and go on with what it has become.
#include <fmt/format.h>

#include <utility>

#include "backend/device.h"
#include "backend/empty_medium.h"
#include "backend/lost_image.h"

namespace xenblk::backend {

using negotiation::ImagePhase;
using negotiation::RingPhase;

Expected<void> Device::can_change() const {
  if (own_.image != ImagePhase::open || detaching_) {
    return fail(Errc::refused, "its image is not open");
  }
  if (drive_is_empty_) return fail(Errc::refused, "there is no medium");
  if (auto free = not_changing(); !free) return free;
  // Its clients could not be told to wait, and would go on with what was.
  if (export_) return fail(Errc::refused, "it is exported: xenblkctl export DISK --stop ends that");
  if (auto whole = not_merging(); !whole) return whole;
  if (own_.rings == RingPhase::connected || own_.rings == RingPhase::none) return {};
  return fail(Errc::refused, "its guest is just connecting or leaving");
}

Expected<void> Device::not_changing() const {
  if (!changing_) return {};
  return fail(Errc::refused, "something is being done to its image");
}

Expected<void> Device::not_merging() const {
  if (!merging_) return {};
  return fail(Errc::refused, "it is being merged into its parent");
}

// reconcile() does nothing meanwhile, so neither image nor rings can go.
void Device::change_image(ImageOpener::ImageChange change, Done done) {
  if (auto can = can_change(); !can) return done(std::move(can));
  changing_ = true;
  take_image_away([this, change = std::move(change), done = std::move(done)]() mutable {
    services_.opener.change(std::exchange(image_, {}), std::move(change),
                            [this, done = std::move(done)](vhd::Changed changed) {
                              image_changed(std::move(changed), done);
                            });
  });
}

void Device::take_image_away(std::function<void()> taken) {
  if (own_.rings != RingPhase::connected) return taken();
  rings_.pause([this, taken = std::move(taken)] {
    rings_.set_image(std::make_shared<EmptyMedium>(), taken);
  });
}

void Device::image_changed(vhd::Changed changed, const Done& done) {
  image_ = std::move(changed.image);
  if (!image_) {
    // An answer all the same: a guest that waits for ever cannot even be shut down.
    own_.image = ImagePhase::failed;
    failure_ = describe(changed.outcome.error());
  }
  give_image_back(
      [this, done, outcome = std::move(changed.outcome)] { change_ended(outcome, done); });
}

void Device::change_ended(const Expected<void>& outcome, const Done& done) {
  changing_ = false;
  changed_();
  done(outcome);
}

void Device::give_image_back(const std::function<void()>& given) {
  if (own_.rings != RingPhase::connected) return given();
  const auto image = image_ ? image_ : std::make_shared<LostImage>(published_);
  rings_.set_image(image, [this, given] {
    if (!paused_) rings_.resume();
    given();
  });
}

void Device::resize_between(SectorCount capacity, Done done) {
  change_image(
      [capacity](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.resize(std::move(image), capacity);
      },
      [this, done = std::move(done)](const Expected<void>& resized) {
        if (resized) capacity_read(image_->capacity());
        done(resized);
      });
}

void Device::check(const vhd::CheckOptions& options, CheckDone done) {
  // Filled on the opener's thread, read on this one after it.
  const auto report = std::make_shared<Expected<vhd::CheckReport>>();
  change_image(
      [options, report](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        *report = registry.check(image, options);
        return vhd::Changed{std::move(image), {}};
      },
      [report, done = std::move(done)](const Expected<void>& changed) {
        if (!changed) return done(std::unexpected(changed.error()));
        done(std::move(*report));
      });
}

}  // namespace xenblk::backend
