#include "backend/negotiation/standing_offer.h"

#include "backend/negotiation/values.h"

namespace xenblk::negotiation {

namespace {

std::uint32_t number_within(const BackendNodes& nodes, std::string_view name, std::uint32_t low,
                            std::uint32_t high) {
  const auto number = parse_u32(nodes(name).value_or(""));
  return number && *number >= low && *number <= high ? *number : low;
}

}  // namespace

Offer standing_offer(const BackendNodes& nodes) {
  const bool large_sectors = nodes("sector-size") == std::to_string(kPageBytes);
  return {.max_ring_order = number_within(nodes, "max-ring-page-order", 0, blkif::kMaxRingOrder),
          .max_queues = number_within(nodes, "multi-queue-max-queues", 1, kMostQueues),
          .max_indirect_segments =
              number_within(nodes, "feature-max-indirect-segments", 0, blkif::kMaxIndirectSegments),
          .persistent_grants = nodes("feature-persistent") == "1",
          .logical_sector_bytes = large_sectors ? kPageBytes : kSectorBytes};
}

}  // namespace xenblk::negotiation
