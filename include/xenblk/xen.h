// The Xen seam: grant table, event channels and XenStore as this program needs them.
// Two implementations: backend/platform/libxen (the real one) and backend/platform/loopback (a
// whole Xen inside this process). One contract test per interface runs against both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk {

class GrantTable;

// Pages of a guest, mapped virtually contiguous. Move-only; unmaps exactly once, when destroyed,
// and must not outlive its GrantTable.
class GrantMapping {
 public:
  GrantMapping() = default;
  GrantMapping(GrantTable& owner, std::byte* address, std::size_t pages)
      : owner_(&owner), address_(address), pages_(pages) {}
  GrantMapping(GrantMapping&& other) noexcept { swap(other); }
  GrantMapping& operator=(GrantMapping&& other) noexcept {
    GrantMapping(std::move(other)).swap(*this);
    return *this;
  }
  ~GrantMapping() { reset(); }

  void reset() noexcept;
  std::byte* address() const { return address_; }
  std::size_t pages() const { return pages_; }
  explicit operator bool() const { return address_ != nullptr; }

 private:
  void swap(GrantMapping& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(address_, other.address_);
    std::swap(pages_, other.pages_);
  }
  GrantTable* owner_ = nullptr;
  std::byte* address_ = nullptr;
  std::size_t pages_ = 0;
};

// Outcome of one copied segment. `again` (GNTST_eagain: the guest's page is paged out) has been
// retried a bounded number of times by the implementation before it is reported.
enum class CopyStatus : std::int8_t { okay, bad_ref, permission, bad_range, again, failed };

// One segment of a copy: `bytes` bytes at `offset` of the page that the peer granted as `ref`, and
// as many bytes at `local`. The grant side must lie within one page: offset + bytes <= kPageBytes,
// bytes > 0. The local side may cross pages (it then costs one more copy operation in the
// hypervisor).
struct GrantCopy {
  GrantRef ref;
  std::uint16_t offset = 0;
  std::uint16_t bytes = 0;
  std::byte* local = nullptr;
  CopyStatus status = CopyStatus::failed;
};

enum class CopyDirection : std::uint8_t { from_guest, to_guest };

// Grant table handle. One thread at a time uses a handle; every worker has its own.
class GrantTable {
 public:
  virtual ~GrantTable() = default;

  // Maps `refs` of domain `peer`, contiguous, all or nothing. At most kMaxMapPages references.
  // Errors: bad_grant (any reference is unusable; nothing stays mapped), no_memory, io.
  virtual Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs,
                                     Access access) = 0;

  // Copies all segments of one domain in one direction, as few system calls as possible, and sets
  // every segment's status. A bad segment never keeps others from being copied. A segment that
  // breaks the range rule of GrantCopy gets bad_range and is not passed on. Data copied by failed
  // segments is unspecified. No allocation. Errors are only per segment: when the call as a whole
  // fails, all get `failed`.
  virtual void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) = 0;

  static constexpr std::size_t kMaxMapPages = 64;

 private:
  friend class GrantMapping;
  virtual void unmap(std::byte* address, std::size_t pages) noexcept = 0;
};

inline void GrantMapping::reset() noexcept {
  if (owner_ != nullptr) owner_->unmap(address_, pages_);
  owner_ = nullptr;
  address_ = nullptr;
  pages_ = 0;
}

// Event channels. One thread uses a handle. A port that was reported pending stays masked until
// unmask(): a guest that floods us costs one event per unmask, no more.
class EventChannels {
 public:
  virtual ~EventChannels() = default;

  // Binds a local port to port `remote` of domain `peer`, which that domain must have allocated for
  // us. The new port is pending at once (as in Xen), so no event sent before the bind is lost.
  // Errors: bad_port (not an unbound port for us), io.
  virtual Expected<EventPort> bind(DomainId peer, EventPort remote) = 0;

  // Frees the local port; the peer's port becomes unbound again and may be bound anew.
  virtual void unbind(EventPort local) noexcept = 0;

  // Sends an event. Never blocks; an event to a peer that is gone is dropped.
  virtual void notify(EventPort local) noexcept = 0;

  // Becomes readable when a port is pending. Read it only through take_pending.
  virtual int fd() const = 0;

  // Events of the ports that are bound from now on are best delivered to this CPU, because the
  // thread that handles them runs on it: one CPU that has to wake another costs more than a
  // request's other steps. Only as far as the system allows.
  virtual void prefer_cpu(std::uint32_t cpu) { (void)cpu; }

  // True: the descriptor has O_NONBLOCK and speaks arrays of EventPort, so that reading it does
  // what take_pending does, and writing to it what unmask does (Linux drivers/xen/evtchn.c).
  // Whoever has to enter the kernel anyway can do both on the way. A port that has been unbound
  // since may still be read.
  virtual bool fd_speaks_ports() const { return false; }

  // Stores ports with pending events into `out`, each masked from now on, and returns how many: 0
  // means none is left. Does not block. With edge-triggered waiting call it until it returns 0.
  virtual std::size_t take_pending(std::span<EventPort> out) noexcept = 0;

  // Lets events of these ports through again; one that came meanwhile is pending at once.
  virtual void unmask(std::span<const EventPort> ports) noexcept = 0;
};

// Identifies a XenStore transaction; the default value means "no transaction".
struct Transaction {
  std::uint32_t id = 0;
};

enum class CommitResult : std::uint8_t { committed, conflict };

struct WatchEvent {
  std::string path;   // the changed node, or the watched path itself at registration
  std::string token;  // as given to watch()
};

// Who may do what with a node: the first entry's domain owns it and its `rights` are everybody
// else's; the others are exceptions (xs_set_permissions of libxenstore).
enum class NodeRights : std::uint8_t { none, read, write, both };
struct NodePermission {
  DomainId domain;
  NodeRights rights = NodeRights::none;
  auto operator<=>(const NodePermission&) const = default;
};

// One connection to XenStore; one thread uses it. Paths are absolute, or relative to the own
// domain's /local/domain/<domid>. Values are byte strings of at most 4096 bytes and may contain
// anything. Errors: not_found (ENOENT), permission (EACCES), closed (connection lost), io.
class XenStore {
 public:
  virtual ~XenStore() = default;

  virtual Expected<std::string> read(std::string_view path, Transaction transaction = {}) = 0;
  // Creates missing parents.
  virtual Expected<void> write(std::string_view path, std::string_view value,
                               Transaction transaction = {}) = 0;
  // Removes the node and all below it. A missing node is not_found.
  virtual Expected<void> remove(std::string_view path, Transaction transaction = {}) = 0;
  // Names of the children, in no particular order.
  virtual Expected<std::vector<std::string>> list(std::string_view path,
                                                  Transaction transaction = {}) = 0;
  virtual Expected<std::vector<NodePermission>> permissions(std::string_view path) = 0;
  virtual Expected<void> set_permissions(std::string_view path,
                                         std::span<const NodePermission> permissions) = 0;

  virtual Expected<Transaction> begin() = 0;
  // `conflict` means that somebody changed what the transaction read or wrote: nothing was written,
  // begin again.
  virtual Expected<CommitResult> commit(Transaction transaction) = 0;
  virtual void abort(Transaction transaction) noexcept = 0;

  // Reports every later change of the node or anything below it; fires once at registration, even
  // for a path that does not exist. The same path and token twice is an error.
  virtual Expected<void> watch(std::string_view path, std::string_view token) = 0;
  // Events of the watch that are still queued are dropped.
  virtual void unwatch(std::string_view path, std::string_view token) noexcept = 0;

  // Becomes readable when next_event may have something; level-triggered.
  virtual int fd() const = 0;
  // The next event, nothing when there is none now. Error closed: the connection is lost.
  virtual Expected<std::optional<WatchEvent>> next_event() = 0;

  // True while the domain exists as far as XenStore knows.
  virtual bool domain_exists(DomainId domain) = 0;
};

// Opens handles of one Xen. Any thread may call it.
class Xen {
 public:
  virtual ~Xen() = default;
  // Errors: unavailable, with a text that says what to start or load.
  virtual Expected<std::unique_ptr<XenStore>> open_store() = 0;
  virtual Expected<std::unique_ptr<EventChannels>> open_event_channels() = 0;
  virtual Expected<std::unique_ptr<GrantTable>> open_grant_table() = 0;
};

}  // namespace xenblk
