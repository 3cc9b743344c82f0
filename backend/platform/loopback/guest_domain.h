// The guest's end of grants, event channels and XenStore: what a frontend driver in that domain can
// do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "backend/platform/loopback/event_hub.h"
#include "backend/platform/loopback/grant_entries.h"
#include "backend/platform/loopback/guest_memory.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

class LoopbackXen;

// One event channel port of a guest; closed when destroyed. The guest's side has no mask: take()
// clears. Pinned; any thread. Outlives a destroyed domain harmlessly, but not the LoopbackXen.
class GuestPort {
 public:
  // An unbound port that `remote` may bind.
  GuestPort(EventHub& hub, DomainId own, DomainId remote);
  ~GuestPort() { hub_.close_all(endpoint_); }
  GuestPort(const GuestPort&) = delete;
  GuestPort& operator=(const GuestPort&) = delete;

  EventPort port() const { return port_; }
  bool is_bound() { return hub_.is_bound(endpoint_, port_); }
  void notify() { hub_.notify(endpoint_, port_); }
  // Readable while an event is pending.
  int fd() const { return endpoint_.fd(); }
  // True when an event was pending; it is not any more.
  bool take();
  // Waits for an event and takes it; false when the time is over.
  bool wait(std::uint32_t timeout_ms);

 private:
  EventHub& hub_;
  Endpoint endpoint_;
  EventPort port_;
};

// Pinned; any thread. Shared by the LoopbackXen (while the domain lives), frontends and mappings:
// the memory of a destroyed guest stays while somebody has it mapped, as on Xen.
class GuestDomain {
 public:
  // Use LoopbackXen::create_domain.
  GuestDomain(LoopbackXen& xen, EventHub& hub, DomainId id, std::uint32_t memory_pages)
      : xen_(xen), hub_(hub), id_(id), memory_(memory_pages) {}
  GuestDomain(const GuestDomain&) = delete;
  GuestDomain& operator=(const GuestDomain&) = delete;

  DomainId id() const { return id_; }

  // Zeroed, page-aligned, contiguous.
  std::span<std::byte> allocate_pages(std::uint32_t pages) { return memory_.allocate(pages); }
  void release_pages(std::span<std::byte> pages) { memory_.release(pages); }

  // Lets domain `to` use the page at this address of the guest's memory.
  GrantRef grant(const std::byte* page, DomainId to, Access access) {
    return entries_.grant(memory_.frame_of(page), to, access);
  }
  // As gnttab_try_end_foreign_access: a grant that is mapped stays in force.
  Revoked revoke(GrantRef ref) { return entries_.revoke(ref); }
  bool is_mapped(GrantRef ref) const { return entries_.in_use(ref); }
  std::uint32_t grants_in_force() const { return entries_.count(); }

  std::unique_ptr<GuestPort> allocate_port(DomainId remote) {
    return std::make_unique<GuestPort>(hub_, id_, remote);
  }

  // The guest's own connection to XenStore, with its rights.
  std::unique_ptr<XenStore> open_store();

  // --- for the loopback itself ---
  const GuestMemory& memory() const { return memory_; }
  GrantEntries& entries() { return entries_; }

 private:
  LoopbackXen& xen_;
  EventHub& hub_;
  DomainId id_;
  GuestMemory memory_;
  GrantEntries entries_;
};

}  // namespace xenblk::loopback
