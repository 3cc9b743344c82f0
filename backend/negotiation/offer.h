// What the backend offers to a frontend, and the nodes that say so (blkif.h, "Backend XenBus
// Nodes").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "xenblk/blkif.h"
#include "xenblk/units.h"

namespace xenblk::negotiation {

inline constexpr std::uint32_t kMostQueues = 16;
// What Linux's blkback offers: requests of 1 MiB.
inline constexpr std::uint32_t kUsualIndirectSegments = 256;

// Limits that the frontend reads before it chooses; published with InitWait.
struct Offer {
  std::uint32_t max_ring_order = blkif::kMaxRingOrder;  // 0 to 4
  std::uint32_t max_queues = 1;                         // 1 to kMostQueues
  // Segments of an indirect request; 0: none are served. Up to blkif::kMaxIndirectSegments.
  std::uint32_t max_indirect_segments = kUsualIndirectSegments;
  bool persistent_grants = false;
  std::uint32_t logical_sector_bytes = kSectorBytes;  // or a page: 4 KiB sectors
};

// The disk as the frontend sees it; published with Connected.
struct DiskProperties {
  SectorCount capacity;
  std::uint32_t logical_sector_bytes = kSectorBytes;
  std::uint32_t physical_sector_bytes = kSectorBytes;
  Access access = Access::read_write;
  bool cdrom = false;
  bool removable = false;
  bool persistent_grants = false;
  bool discard = false;
  std::uint32_t discard_granularity_bytes = kSectorBytes;
  std::uint32_t discard_alignment_bytes = 0;
};

struct Node {
  std::string name;  // relative to the backend's directory
  std::string value;
  friend bool operator==(const Node&, const Node&) = default;
};

// In units of 512 bytes, but in whole logical sectors: what is left over is not served.
SectorCount whole_sectors(SectorCount capacity, std::uint32_t logical_sector_bytes);

std::vector<Node> offer_nodes(const Offer& offer);
std::vector<Node> property_nodes(const DiskProperties& disk);

}  // namespace xenblk::negotiation
