#include "backend/platform/loopback/grant_entries.h"

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {
namespace {

// A word: frame in bits 0-31, the domain it is granted to in 32-47, pins in 48-61, then two flags.
constexpr std::uint64_t kOnePin = 1ULL << 48;
constexpr std::uint64_t kPins = 0x3fffULL << 48;
constexpr std::uint64_t kReadOnly = 1ULL << 62;
constexpr std::uint64_t kValid = 1ULL << 63;

std::uint64_t encode(Frame frame, DomainId to, Access access) {
  return kValid | frame.n | std::uint64_t{to.n} << 32 |
         (access == Access::read_only ? kReadOnly : 0);
}

bool granted_to(std::uint64_t word, DomainId domain) {
  return (word & kValid) != 0 && ((word >> 32) & 0xffff) == domain.n;
}

}  // namespace

GrantEntries::GrantEntries() : words_(kEntries) {
  for (std::uint32_t ref = kEntries; ref-- > kReservedEntries;) free_.push_back(ref);
}

GrantRef GrantEntries::grant(Frame frame, DomainId to, Access access) {
  const std::scoped_lock lock(mutex_);
  require(!free_.empty(), "a guest has grant entries left");
  const std::uint32_t ref = free_.back();
  free_.pop_back();
  words_[ref].store(encode(frame, to, access), std::memory_order_release);
  return {ref};
}

Revoked GrantEntries::revoke(GrantRef ref) {
  Word& word = words_.at(ref.n);
  std::uint64_t seen = word.load(std::memory_order_acquire);
  do {
    require((seen & kValid) != 0, "a grant is revoked once");
    if ((seen & kPins) != 0) return Revoked::still_mapped;
  } while (!word.compare_exchange_weak(seen, 0, std::memory_order_acq_rel));
  const std::scoped_lock lock(mutex_);
  free_.push_back(ref.n);
  return Revoked::ended;
}

bool GrantEntries::in_use(GrantRef ref) const {
  return (words_.at(ref.n).load(std::memory_order_acquire) & kPins) != 0;
}

std::uint32_t GrantEntries::count() const {
  const std::scoped_lock lock(mutex_);
  return kEntries - kReservedEntries - static_cast<std::uint32_t>(free_.size());
}

std::expected<Frame, CopyStatus> GrantEntries::pin(GrantRef ref, DomainId by, Access wanted) {
  if (closed_) return std::unexpected(CopyStatus::failed);
  if (ref.n >= words_.size()) return std::unexpected(CopyStatus::bad_ref);
  Word& word = words_[ref.n];
  std::uint64_t seen = word.load(std::memory_order_acquire);
  do {
    // Xen 4.17 says "general error" to both, as the contract tests saw in a real dom0.
    if (!granted_to(seen, by)) return std::unexpected(CopyStatus::failed);
    const bool writes = wanted == Access::read_write;
    if (writes && (seen & kReadOnly) != 0) return std::unexpected(CopyStatus::failed);
    require((seen & kPins) != kPins, "a grant is not pinned 16384 times");
  } while (!word.compare_exchange_weak(seen, seen + kOnePin, std::memory_order_acq_rel));
  return Frame{static_cast<std::uint32_t>(seen)};
}

void GrantEntries::unpin(GrantRef ref) {
  const auto before = words_[ref.n].fetch_sub(kOnePin, std::memory_order_acq_rel);
  require((before & kPins) != 0, "a grant is unpinned as often as pinned");
}

}  // namespace xenblk::loopback
