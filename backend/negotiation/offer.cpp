#include "backend/negotiation/offer.h"

#include <algorithm>

namespace xenblk::negotiation {

std::vector<Node> offer_nodes(const Offer& offer) {
  // Ring size is said in both schemes, identical (blkif.h note 3): old frontends read
  // max-ring-pages only.
  return {{"max-ring-page-order", std::to_string(offer.max_ring_order)},
          {"max-ring-pages", std::to_string(1U << offer.max_ring_order)},
          {"multi-queue-max-queues", std::to_string(offer.max_queues)},
          {"feature-max-indirect-segments", std::to_string(offer.max_indirect_segments)}};
}

SectorCount whole_sectors(SectorCount capacity, std::uint32_t logical_sector_bytes) {
  const std::uint64_t unit = logical_sector_bytes / kSectorBytes;
  return {capacity.n / unit * unit};
}

std::vector<Node> property_nodes(const DiskProperties& disk) {
  const std::uint32_t info = (disk.cdrom ? blkif::kInfoCdrom : 0U) |
                             (disk.removable ? blkif::kInfoRemovable : 0U) |
                             (disk.access == Access::read_only ? blkif::kInfoReadOnly : 0U);
  // `sectors` counts 512 bytes whatever sector-size says (blkif.h, comment on "sectors").
  const auto physical = std::max(disk.physical_sector_bytes, disk.logical_sector_bytes);
  const auto granularity = std::max(disk.discard_granularity_bytes, disk.logical_sector_bytes);
  return {{"sectors", std::to_string(disk.capacity.n)},
          {"sector-size", std::to_string(disk.logical_sector_bytes)},
          {"physical-sector-size", std::to_string(physical)},
          {"info", std::to_string(info)},
          {"feature-flush-cache", "1"},
          {"feature-barrier", "1"},
          {"feature-persistent", disk.persistent_grants ? "1" : "0"},
          // Always both extents (blkif.h note 4), and 0 rather than nothing: what an earlier daemon
          // wrote there would still stand.
          {"feature-discard", disk.discard ? "1" : "0"},
          {"discard-granularity", std::to_string(granularity)},
          {"discard-alignment", std::to_string(disk.discard_alignment_bytes)},
          {"discard-secure", "0"}};
}

}  // namespace xenblk::negotiation
