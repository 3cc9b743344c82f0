#include "ringio/grant_cache.h"

#include <bit>
#include <cassert>
#include <utility>

namespace xenblk::ringio {

GrantCache::GrantCache(GrantTable& table, DomainId peer, std::size_t pages)
    : table_(table), peer_(peer), entries_(pages), buckets_(std::bit_ceil(2 * pages), kNone) {
  assert(pages != 0 && pages < kNone);
  for (std::size_t i = pages; i-- != 0;) {
    entries_[i].next_in_bucket = free_;
    free_ = static_cast<Index>(i);
  }
}

std::byte* GrantCache::find(GrantRef ref) {
  const Index index = look_up(ref);
  if (index == kNone) return add(ref);
  use(index);
  entries_[index].used_in = period_;
  return entries_[index].mapping.address();
}

GrantCache::Index& GrantCache::bucket_of(GrantRef ref) {
  // Neighbouring references are the rule; a guest that aims at one bucket makes only itself slow,
  // and not by more than the number of its own entries.
  return buckets_[(ref.n * 0x9e37'79b1U) >> (32 - std::bit_width(buckets_.size() - 1))];
}

GrantCache::Index GrantCache::look_up(GrantRef ref) {
  Index index = bucket_of(ref);
  while (index != kNone && entries_[index].ref != ref) index = entries_[index].next_in_bucket;
  return index;
}

std::byte* GrantCache::add(GrantRef ref) {
  if (maps_left_ == 0 || !make_room()) return nullptr;
  --maps_left_;
  auto mapping = table_.map(peer_, {&ref, 1}, Access::read_write);
  if (!mapping) return nullptr;
  const Index index = std::exchange(free_, entries_[free_].next_in_bucket);
  Entry& entry = entries_[index];
  entry.ref = ref;
  entry.used_in = period_;
  entry.mapping = std::move(*mapping);
  entry.next_in_bucket = std::exchange(bucket_of(ref), index);
  link_newest(index);
  ++used_;
  return entry.mapping.address();
}

bool GrantCache::make_room() {
  if (free_ != kNone) return true;
  if (++misses_ < kMissesPerReplacement) return false;
  misses_ = 0;
  drop_oldest();
  return true;
}

void GrantCache::age() {
  for (auto left = kUnmapsEach; left != 0 && oldest_ != kNone; --left) {
    if (entries_[oldest_].used_in == period_) break;
    drop_oldest();
  }
  ++period_;
}

void GrantCache::use(Index index) {
  if (index == newest_) return;
  unlink(index);
  link_newest(index);
}

void GrantCache::unlink(Index index) {
  const Entry& entry = entries_[index];
  (entry.newer == kNone ? newest_ : entries_[entry.newer].older) = entry.older;
  (entry.older == kNone ? oldest_ : entries_[entry.older].newer) = entry.newer;
}

void GrantCache::link_newest(Index index) {
  Entry& entry = entries_[index];
  entry.newer = kNone;
  entry.older = newest_;
  (newest_ == kNone ? oldest_ : entries_[newest_].newer) = index;
  newest_ = index;
}

void GrantCache::drop_oldest() {
  const Index index = oldest_;
  assert(index != kNone);
  Entry& entry = entries_[index];
  Index* link = &bucket_of(entry.ref);
  while (*link != index) link = &entries_[*link].next_in_bucket;
  *link = entry.next_in_bucket;
  unlink(index);
  entry.mapping.reset();
  entry.next_in_bucket = std::exchange(free_, index);
  --used_;
}

}  // namespace xenblk::ringio
