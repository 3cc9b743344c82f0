// Pages of a guest that stay mapped (feature-persistent), found by their grant references: data is
// then copied without the hypervisor. What is not in the cache, or cannot be mapped, is left to
// grant copy, which decides whether the reference is any good: so the cache never makes a request
// fail and never answers for the guest.
//
// A mapping keeps the page that its reference stood for when it was mapped. A guest that makes the
// reference stand for another page meanwhile breaks the protocol and reads and writes the old one,
// which is still its own. Owned by a queue; one thread; no allocation after construction but what
// the grant table does for a mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "xenblk/xen.h"

namespace xenblk::ringio {

class GrantCache {
 public:
  // `table` is borrowed. At most `pages` (at least 1) are mapped at once.
  GrantCache(GrantTable& table, DomainId peer, std::size_t pages);
  GrantCache(const GrantCache&) = delete;
  GrantCache& operator=(const GrantCache&) = delete;

  // The mapped page, or null: then it has to be copied by the hypervisor.
  std::byte* find(GrantRef ref);

  // Mapping is slow: only so many new pages are mapped before the next call of this.
  void begin_move() { maps_left_ = kMapsEach; }

  // A period has ended, a minute or so: pages that were not used in all of it are unmapped, so many
  // of them at most, those first that were not used for longest. What an idle guest has granted it
  // may want back, and the host's table of mappings is shared by all.
  void age();
  static constexpr std::uint32_t kUnmapsEach = 256;

  std::size_t mapped_pages() const { return used_; }

 private:
  using Index = std::uint32_t;
  static constexpr Index kNone = ~Index{0};
  static constexpr std::uint32_t kMapsEach = 16;
  // When the cache is full, one of so many references that are not in it takes the place of the one
  // that was not used for longest: a guest that uses ever new ones costs little more than copying.
  static constexpr std::uint32_t kMissesPerReplacement = 64;

  struct Entry {
    GrantRef ref;
    GrantMapping mapping;
    Index next_in_bucket = kNone;
    Index newer = kNone, older = kNone;  // by last use
    std::uint32_t used_in = 0;           // the last period in which it was used
  };

  Index& bucket_of(GrantRef ref);
  Index look_up(GrantRef ref);
  std::byte* add(GrantRef ref);
  bool make_room();
  void use(Index index);
  void unlink(Index index);
  void link_newest(Index index);
  void drop_oldest();

  GrantTable& table_;
  DomainId peer_;
  std::vector<Entry> entries_;
  std::vector<Index> buckets_;  // a power of two
  std::size_t used_ = 0;
  Index free_ = kNone;  // chained by next_in_bucket
  Index newest_ = kNone, oldest_ = kNone;
  std::uint32_t period_ = 0;
  std::uint32_t maps_left_ = kMapsEach;
  std::uint32_t misses_ = 0;
};

}  // namespace xenblk::ringio
