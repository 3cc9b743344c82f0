// Merging the image of a running disk into its parent: begun between two requests, done beside
// them, and ended between two others. `params` names the child until the parent holds all that it
// does, and then the parent; so whenever the daemon dies, the next one opens an image that is
// whole.
#include <fmt/format.h>

#include <utility>

#include "backend/device.h"

namespace xenblk::backend {

using negotiation::ImagePhase;
using negotiation::RingPhase;

void Device::coalesce(std::uint64_t bytes_per_second, Done done) {
  if (auto can = can_change(); !can) return done(std::move(can));
  if (request_.cdrom) return done(fail(Errc::refused, "the medium of a drive is not merged"));
  changing_ = true;
  const auto parent = std::make_shared<vhd::ImageRegistry::MergeParent>();
  services_.opener.look(
      image_,
      [parent](vhd::ImageRegistry& registry,
               const std::shared_ptr<Image>& image) -> Expected<void> {
        auto opened = registry.open_merge_parent(image);
        if (!opened) return std::unexpected(opened.error());
        *parent = std::move(*opened);
        return {};
      },
      [this, parent, bytes_per_second, done = std::move(done)](const Expected<void>& opened) {
        if (!opened) return change_ended(opened, done);
        take_image_away([this, parent, bytes_per_second, done] {
          begin_merge(parent, bytes_per_second, done);
        });
      });
}

void Device::begin_merge(const std::shared_ptr<vhd::ImageRegistry::MergeParent>& parent,
                         std::uint64_t bytes_per_second, const Done& done) {
  const auto& spec = parent->spec;
  const auto* const format = spec.format == vhd::Format::vhd ? "vhd" : "raw";
  const auto into = fmt::format("{}:{}", format, spec.path);
  services_.opener.change(
      std::exchange(image_, {}),
      [parent](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.begin_merge(std::move(image), std::move(*parent));
      },
      [this, into, bytes_per_second, done](vhd::Changed changed) {
        auto merging = std::dynamic_pointer_cast<vhd::MergingImage>(changed.image);
        if (merging) {
          merge_ = MergeStatus{.progress = merging->progress(), .into = into};
          merging_ = true;
          const std::weak_ptr<Device*> self = self_;
          // Called on the merge's own thread; the loop outlives the image.
          merging->start({bytes_per_second}, [self, &loop = services_.loop](auto ended) {
            loop.post([self, ended = std::move(ended)] {
              if (const auto device = self.lock()) (*device)->merge_ended(ended);
            });
          });
          report(Severity::info, fmt::format("is merged into {}", merge_->into));
        }
        merging.reset();
        image_changed(std::move(changed), done);
      });
}

// In its own time: something else may be under way, or the image is being closed.
void Device::merge_ended(const Expected<void>& ended) {
  if (!merging_ || own_.image != ImagePhase::open) return;
  // Queues that are about to come have a share of the image, which could not be taken from them.
  const bool rings_change =
      own_.rings == RingPhase::connecting || own_.rings == RingPhase::disconnecting;
  if (changing_ || rings_change) {
    return services_.loop.after(std::chrono::milliseconds(20),
                                [self = std::weak_ptr(self_), ended] {
                                  if (const auto device = self.lock())
                                    (*device)->merge_ended(ended);
                                });
  }
  changing_ = true;
  take_image_away([this, ended] {
    if (!ended) return abort_merge(ended.error());
    services_.opener.look(
        image_,
        [](vhd::ImageRegistry& registry, const std::shared_ptr<Image>& image) {
          return registry.settle_merge(image);
        },
        [this](const Expected<void>& settled) {
          if (!settled) return abort_merge(settled.error());
          if (auto named = name_image(merge_->into); !named) return abort_merge(named.error());
          go_on_in_parent();
        });
  });
}

void Device::go_on_in_parent() {
  services_.opener.change(
      std::exchange(image_, {}),
      [](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.end_merge(std::move(image));
      },
      [this](vhd::Changed changed) { merge_over(std::move(changed), {}); });
}

void Device::abort_merge(const Error& reason) {
  services_.opener.change(
      std::exchange(image_, {}),
      [](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.abort_merge(std::move(image));
      },
      [this, reason](vhd::Changed changed) { merge_over(std::move(changed), reason); });
}

void Device::merge_over(vhd::Changed changed, const std::optional<Error>& reason) {
  merging_ = false;
  merge_->state = reason ? MergeStatus::State::failed : MergeStatus::State::done;
  if (reason) {
    merge_->failure = describe(*reason);
    report(Severity::error, fmt::format("not merged: {}", merge_->failure));
  }
  image_changed(std::move(changed), [](const Expected<void>&) {});
}

}  // namespace xenblk::backend
