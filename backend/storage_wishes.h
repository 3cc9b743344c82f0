// What administrators want of disks whose storage fails, and which of their wishes counts for a
// disk. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ringio/storage_policy.h"

namespace xenblk::backend {

// As in the configuration and in XenStore: report, pause or stop.
std::optional<ringio::OnFailure> parse_on_failure(std::string_view word);
std::string_view name(ringio::OnFailure reaction);

// Unset: whatever counts more widely.
struct FailureWishes {
  std::optional<ringio::OnFailure> on_error;
  std::optional<ringio::OnFailure> on_no_space;
};

struct StorageWishes {
  FailureWishes of_all;
  std::map<std::string, FailureWishes> of_disk;  // by "GUEST:VDEV", both as in XenStore

  // The disk's own nodes win over the configuration's entry for it, which wins over that for all;
  // without any the failure is reported.
  ringio::StoragePolicy policy(const std::string& disk, const FailureWishes& nodes) const;
};

}  // namespace xenblk::backend
