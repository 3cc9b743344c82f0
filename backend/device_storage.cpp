// A storage that fails: which policy counts for this disk, and what its administrator gets to see.
#include <fmt/format.h>

#include "backend/device.h"
#include "backend/store.h"

namespace xenblk::backend {

using negotiation::XenbusState;
using StorageChange = ringio::StorageNotice::Change;

namespace {

// In the backend's directory, for administrators and for the daemon after us; removed with it.
constexpr const char* kStateNode = "storage-state";

std::string_view word(ImageOp op) {
  switch (op) {
    case ImageOp::read:
      return "read";
    case ImageOp::write:
      return "write";
    case ImageOp::flush:
      return "flush";
    case ImageOp::discard:
      return "discard";
    case ImageOp::write_zeroes:
      return "write of zeroes";
  }
  return "request";
}

std::string describe_failure(const ringio::StorageNotice& notice) {
  const bool full = notice.failure.status == IoStatus::no_space;
  return fmt::format("{} at sector {}: {}", word(notice.failure.op), notice.first.n,
                     full ? "no space left" : "I/O error");
}

}  // namespace

ringio::StoragePolicy Device::storage_policy() const {
  const auto guest =
      read_node(services_.store, fmt::format("/local/domain/{}/name", key_.domain.n));
  const auto disk = fmt::format("{}:{}", guest.value_or(""), request_.virtual_device);
  return services_.storage.policy(disk, request_.on_failure);
}

// What the daemon before us had stopped stays so. What waited is tried again now, and told of again
// if that fails.
void Device::recall_storage_state() {
  const auto state =
      read_node(services_.store, fmt::format("{}/{}", negotiation::backend_path(key_), kStateNode));
  if (state == "stopped") refuses_->store(true, std::memory_order_relaxed);
  if (state == "waiting") publish_storage_state();
}

// One line for the first queue that waits and one for the last, not for each.
void Device::storage_changed(std::size_t queue, const ringio::StorageNotice& notice) {
  switch (notice.change) {
    case StorageChange::waits:
      storage_waits_.insert(queue);
      if (storage_waits_.size() > 1) return;
      report(Severity::warning, fmt::format("the storage has failed ({}): the guest waits until it "
                                            "is good again",
                                            describe_failure(notice)));
      break;
    case StorageChange::recovered:
      storage_waits_.erase(queue);
      if (!storage_waits_.empty()) return;
      if (own_.rings != negotiation::RingPhase::connected) break;
      report(Severity::info, "the storage is good again, and the guest goes on");
      break;
    case StorageChange::stopped:
      report(Severity::error, fmt::format("the storage has failed ({}): all requests are refused "
                                          "until the disk is resumed with xenblkctl",
                                          describe_failure(notice)));
      break;
  }
  publish_storage_state();
}

void Device::publish_storage_state() {
  const char* state = refuses_->load(std::memory_order_relaxed) ? "stopped"
                      : storage_waits_.empty()                  ? "good"
                                                                : "waiting";
  for (int tries = 0; tries < kPublishTries; ++tries) {
    const auto seen = read_device(services_.store, key_, medium_).seen;
    if (!seen.exists || publish_nodes(seen, {{kStateNode, state}}) != Result::again) return;
  }
}

// With its rings; what was kept is answered, or left to the daemon after us: then it waits as
// before.
void Device::forget_storage_waits() {
  if (storage_waits_.empty()) return;
  storage_waits_.clear();
  if (!detaching_) publish_storage_state();
}

}  // namespace xenblk::backend
