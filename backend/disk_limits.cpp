#include "backend/disk_limits.h"

#include <fmt/format.h>

#include <charconv>

#include "backend/negotiation/values.h"

namespace xenblk::backend {
namespace {

struct Names {
  const char* operations;
  const char* bandwidth;
  const char* burst;
};
constexpr Names kOfDisk{"limit-iops", "limit-bandwidth", "limit-burst-ms"};
constexpr Names kOfGuest{"guest-limit-iops", "guest-limit-bandwidth", "guest-limit-burst-ms"};

constexpr std::uint64_t kNsPerMs = 1'000'000;

std::optional<std::uint64_t> whole_number(const std::string& text) {
  std::uint64_t value = 0;
  const auto* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return {};
  return value;
}

// `none`: what stands for a node that is missing.
Expected<std::uint64_t> limit(const NodeOf& node, const char* name, LimitRange range,
                              std::uint64_t none) {
  const auto text = node(name);
  if (!text) return none;
  const auto value = whole_number(*text);
  if (value && (*value == none || (*value >= range.least && *value <= range.most))) return *value;
  return fail(Errc::bad_node, fmt::format("{} is {}, must be a whole number from {} to {}", name,
                                          negotiation::quoted(*text), range.least, range.most));
}

Expected<ringio::RateLimits> read(const NodeOf& node, const Names& names) {
  constexpr ringio::RateLimits kNone;
  const auto operations = limit(node, names.operations, kOperationsRange, 0);
  if (!operations) return std::unexpected(operations.error());
  const auto bandwidth = limit(node, names.bandwidth, kBandwidthRange, 0);
  if (!bandwidth) return std::unexpected(bandwidth.error());
  const auto burst_ms = limit(node, names.burst, kBurstRange, kNone.burst_ns / kNsPerMs);
  if (!burst_ms) return std::unexpected(burst_ms.error());
  return ringio::RateLimits{*operations, *bandwidth, *burst_ms * kNsPerMs};
}

std::vector<negotiation::Node> nodes(const ringio::RateLimits& limits, const Names& names) {
  return {{names.operations, std::to_string(limits.operations_per_second)},
          {names.bandwidth, std::to_string(limits.bytes_per_second)},
          {names.burst, std::to_string(limits.burst_ns / kNsPerMs)}};
}

}  // namespace

Expected<ringio::RateLimits> read_limits(const NodeOf& node) {
  return read(node, kOfDisk);
}

Expected<std::optional<ringio::RateLimits>> read_guest_limits(const NodeOf& node) {
  if (!node(kOfGuest.operations) && !node(kOfGuest.bandwidth) && !node(kOfGuest.burst)) {
    return std::nullopt;
  }
  return read(node, kOfGuest);
}

std::vector<negotiation::Node> limit_nodes(const ringio::RateLimits& limits) {
  return nodes(limits, kOfDisk);
}

std::vector<negotiation::Node> guest_limit_nodes(const ringio::RateLimits& limits) {
  return nodes(limits, kOfGuest);
}

}  // namespace xenblk::backend
