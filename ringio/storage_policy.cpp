#include "ringio/storage_policy.h"

#include <algorithm>

namespace xenblk::ringio {
namespace {

constexpr std::chrono::milliseconds kFirstWait{100};
constexpr std::chrono::milliseconds kLongestWait{5000};
constexpr std::uint32_t kDoublings = 6;  // more than enough for the longest

}  // namespace

OnFailure reaction_to(const StorageFailure& failure, const StoragePolicy& policy) {
  OnFailure wanted = OnFailure::report;
  switch (failure.status) {
    case IoStatus::io_error:
      wanted = policy.on_error;
      break;
    case IoStatus::no_space:
      wanted = policy.on_no_space;
      break;
    case IoStatus::okay:
    case IoStatus::read_only:
    case IoStatus::out_of_range:
    case IoStatus::unsupported:
      break;
  }
  const bool lost = failure.op == ImageOp::flush && failure.cached;
  return wanted == OnFailure::pause && lost ? OnFailure::report : wanted;
}

std::chrono::nanoseconds retry_after(std::uint32_t failures) {
  const auto doublings = std::clamp(failures, 1U, kDoublings + 1) - 1;
  return std::min(kFirstWait * (1 << doublings), kLongestWait);
}

}  // namespace xenblk::ringio
