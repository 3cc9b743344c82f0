#include "backend/storage_wishes.h"

namespace xenblk::backend {

using ringio::OnFailure;

std::optional<OnFailure> parse_on_failure(std::string_view word) {
  for (const auto reaction : {OnFailure::report, OnFailure::pause, OnFailure::stop}) {
    if (word == name(reaction)) return reaction;
  }
  return {};
}

std::string_view name(OnFailure reaction) {
  switch (reaction) {
    case OnFailure::report:
      return "report";
    case OnFailure::pause:
      return "pause";
    case OnFailure::stop:
      return "stop";
  }
  return "?";
}

ringio::StoragePolicy StorageWishes::policy(const std::string& disk,
                                            const FailureWishes& nodes) const {
  const auto found = of_disk.find(disk);
  const FailureWishes own = found == of_disk.end() ? FailureWishes{} : found->second;
  const auto choose = [&](std::optional<OnFailure> FailureWishes::* which) {
    for (const auto* wishes : {&nodes, &own, &of_all}) {
      if (wishes->*which) return *(wishes->*which);
    }
    return OnFailure::report;
  };
  return {choose(&FailureWishes::on_error), choose(&FailureWishes::on_no_space)};
}

}  // namespace xenblk::backend
