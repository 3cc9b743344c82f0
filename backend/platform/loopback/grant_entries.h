// The grant entries of one simulated guest. As in Xen they are words in memory that both ends
// change with compare-and-swap, so granting, copying and ending never wait for each other.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <mutex>
#include <vector>

#include "backend/platform/loopback/guest_memory.h"
#include "xenblk/units.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

enum class Revoked : std::uint8_t { ended, still_mapped };

// Pinned; any thread.
class GrantEntries {
 public:
  // A Linux guest's table with 64 version 1 frames; the first 8 entries are reserved there too.
  static constexpr std::uint32_t kEntries = 32768;
  static constexpr std::uint32_t kReservedEntries = 8;

  GrantEntries();

  // --- the guest's end ---
  GrantRef grant(Frame frame, DomainId to, Access access);
  // Ends the grant unless somebody has it mapped or is copying; then it stays in force.
  Revoked revoke(GrantRef ref);
  bool in_use(GrantRef ref) const;
  // Grants in force, whether used or not.
  std::uint32_t count() const;

  // --- the hypervisor's end ---
  // Finds the page and keeps the grant from being ended until unpin().
  std::expected<Frame, CopyStatus> pin(GrantRef ref, DomainId by, Access wanted);
  void unpin(GrantRef ref);
  // The domain died: pins stay until their unpin, new ones are refused.
  void close() { closed_ = true; }

 private:
  using Word = std::atomic<std::uint64_t>;

  std::vector<Word> words_;
  std::atomic<bool> closed_ = false;
  mutable std::mutex mutex_;
  std::vector<std::uint32_t> free_;  // under mutex_; last in, first out, as Linux reuses them
};

}  // namespace xenblk::loopback
