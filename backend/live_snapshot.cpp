// A snapshot of a running disk: what its guest wrote so far becomes read-only, and a new child
// takes what it writes from now on.
//
// The `params` node is what counts. Until it names the child, a daemon that comes after us opens
// the parent, and nothing was written to the child; from then on it opens the child. It is
// rewritten between the last request to the one and the first to the other.
#include <fmt/format.h>
#include <spdlog/logger.h>

#include <array>
#include <utility>

#include "backend/device.h"
#include "backend/store.h"
#include "vhd/operations/successor.h"

namespace xenblk::backend {

struct Device::Snapshot {
  std::string parent_path;
  std::string child_path;
  Done done;
};

void Device::snapshot(const std::string& child_path, Done done) {
  if (auto can = can_change(); !can) return done(std::move(can));
  if (request_.cdrom)
    return done(fail(Errc::refused, "there are no snapshots of a drive's medium"));
  const auto spec = vhd::parse_image_spec(request_.params);
  if (!spec) return done(std::unexpected(spec.error()));
  const auto plan = std::make_shared<Snapshot>(spec->path, child_path, std::move(done));
  changing_ = true;
  services_.opener.look(
      image_,
      [child_path](vhd::ImageRegistry& registry, const std::shared_ptr<Image>& image) {
        return registry.make_child(image, child_path);
      },
      [this, plan](const Expected<void>& made) {
        if (!made) return change_ended(made, plan->done);
        take_image_away([this, plan] { move_to_child(plan); });
      });
}

void Device::move_to_child(const std::shared_ptr<Snapshot>& plan) {
  services_.opener.change(
      std::exchange(image_, {}),
      [plan](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.move_to_child(std::move(image), plan->child_path);
      },
      [this, plan](vhd::Changed changed) {
        if (!changed.outcome) return image_changed(std::move(changed), plan->done);
        if (auto named = name_image("vhd:" + plan->child_path); !named) {
          return move_back(plan, std::move(changed.image), named.error());
        }
        image_changed(std::move(changed), [this, plan](const Expected<void>& changed_over) {
          note_successor(*plan);
          plan->done(changed_over);
        });
      });
}

// In XenStore, for the daemon that comes after us and for whoever looks.
Expected<void> Device::name_image(const std::string& params) {
  const auto seen = read_device(services_.store, key_, medium_).seen;
  const std::array nodes{negotiation::Node{"params", params}};
  const auto published =
      publish(services_.store, negotiation::backend_path(key_), seen.backend, nodes);
  if (!published) return std::unexpected(published.error());
  if (*published != Published::done) return fail(Errc::conflict, "the disk is just being removed");
  request_.params = params;
  report(Severity::info, fmt::format("goes on in {}", params));
  return {};
}

void Device::move_back(const std::shared_ptr<Snapshot>& plan, std::shared_ptr<Image> child,
                       const Error& reason) {
  services_.opener.change(
      std::move(child),
      [plan](vhd::ImageRegistry& registry, std::shared_ptr<Image>&& image) {
        return registry.move_back(std::move(image), plan->parent_path);
      },
      [this, plan, reason](vhd::Changed changed) {
        if (changed.outcome) changed.outcome = std::unexpected(reason);
        image_changed(std::move(changed), plan->done);
      });
}

// For whoever attaches the disk anew by its old name. The disk is served already.
void Device::note_successor(const Snapshot& plan) {
  services_.opener.look(
      {},
      [parent = plan.parent_path, child = plan.child_path](vhd::ImageRegistry&, const auto&) {
        return vhd::note_successor(parent, child);
      },
      [log = &services_.log, name = name_](const Expected<void>& noted) {
        if (noted) return;
        log->warn("{}: nothing keeps the parent from being written: {}", name,
                  describe(noted.error()));
      });
}

}  // namespace xenblk::backend
