// Units: a number that has a unit carries it in its type, so that two of them cannot be swapped.
// Plain values, no thread, no failure. The number is the public member `n`.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace xenblk {

// blkif counts in 512-byte sectors whatever the logical block size is
// (xen/include/public/io/blkif.h, comment on "sectors"); the VHD specification uses the same unit.
inline constexpr std::uint32_t kSectorBytes = 512;
inline constexpr std::uint32_t kPageBytes = 4096;
inline constexpr std::uint32_t kSectorsPerPage = kPageBytes / kSectorBytes;

struct DomainId {
  std::uint16_t n = 0;
  auto operator<=>(const DomainId&) const = default;
};

// A virtual device number as XenStore writes it, for example 51712 for xvda.
struct DeviceId {
  std::uint32_t n = 0;
  auto operator<=>(const DeviceId&) const = default;
};

// An index into the grant table of the domain that is named beside it.
struct GrantRef {
  std::uint32_t n = 0;
  auto operator<=>(const GrantRef&) const = default;
};

// An event channel port of the domain that is named beside it.
struct EventPort {
  std::uint32_t n = 0;
  auto operator<=>(const EventPort&) const = default;
};

// A position on a disk, in 512-byte sectors.
struct SectorIndex {
  std::uint64_t n = 0;
  auto operator<=>(const SectorIndex&) const = default;
};

// A length, in 512-byte sectors.
struct SectorCount {
  std::uint64_t n = 0;
  auto operator<=>(const SectorCount&) const = default;
};

// True when [first, first + count) lies within [0, disk). Cannot wrap for any input.
constexpr bool fits(SectorIndex first, SectorCount count, SectorCount disk) {
  return count.n <= disk.n && first.n <= disk.n - count.n;
}

enum class Access : std::uint8_t { read_only, read_write };

}  // namespace xenblk
