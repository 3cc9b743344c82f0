#include "backend/disk_limits.h"

#include <fmt/format.h>

#include <charconv>

#include "backend/negotiation/values.h"

namespace xenblk::backend {
namespace {

constexpr const char* kOperationsNode = "limit-iops";
constexpr const char* kBandwidthNode = "limit-bandwidth";
constexpr const char* kBurstNode = "limit-burst-ms";

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

}  // namespace

Expected<ringio::RateLimits> read_limits(const NodeOf& node) {
  constexpr ringio::RateLimits kNone;
  const auto operations = limit(node, kOperationsNode, kOperationsRange, 0);
  if (!operations) return std::unexpected(operations.error());
  const auto bandwidth = limit(node, kBandwidthNode, kBandwidthRange, 0);
  if (!bandwidth) return std::unexpected(bandwidth.error());
  const auto burst_ms = limit(node, kBurstNode, kBurstRange, kNone.burst_ns / kNsPerMs);
  if (!burst_ms) return std::unexpected(burst_ms.error());
  return ringio::RateLimits{*operations, *bandwidth, *burst_ms * kNsPerMs};
}

std::vector<negotiation::Node> limit_nodes(const ringio::RateLimits& limits) {
  return {{kOperationsNode, std::to_string(limits.operations_per_second)},
          {kBandwidthNode, std::to_string(limits.bytes_per_second)},
          {kBurstNode, std::to_string(limits.burst_ns / kNsPerMs)}};
}

}  // namespace xenblk::backend
