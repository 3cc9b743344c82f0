// A whole Xen inside this process: domains with memory, grants, event channels and XenStore. Tests,
// the simulation and the one-process demo run the real backend on one side of it and simulated
// guests on the other. All of it is thread-safe; the handles keep the one-thread rule of the seam
// and check it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "backend/platform/loopback/event_hub.h"
#include "backend/platform/loopback/faults.h"
#include "backend/platform/loopback/guest_domain.h"
#include "backend/platform/loopback/store_connection.h"
#include "backend/platform/loopback/usage.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

// Pinned; outlives every handle it gave out (checked). Any thread.
class LoopbackXen {
 public:
  static constexpr std::uint32_t kDefaultMemoryPages = 16384;  // 64 MiB, sparse

  LoopbackXen();
  ~LoopbackXen();
  LoopbackXen(const LoopbackXen&) = delete;
  LoopbackXen& operator=(const LoopbackXen&) = delete;

  // The seam as domain `backend` sees it, normally domain 0. Lives as long as this object.
  Xen& host(DomainId backend = {0});
  const Usage& usage(DomainId backend = {0});

  // A connection to XenStore with that domain's rights, for guests and the toolstack (domain 0).
  // It does not count as one of host()'s.
  std::unique_ptr<StoreConnection> open_store_as(DomainId domain);
  // What host(backend) has opened there is lost, as when xenstored dies.
  void lose_store_connections(DomainId backend) { store_.lose_connections(backend); }

  // A new domain; the identifier must be free and not 0. XenStore has its directory afterwards,
  // with the rights that libxl gives: the guest reads all of it and owns `device` and `data`.
  std::shared_ptr<GuestDomain> create_domain(DomainId id,
                                             std::uint32_t memory_pages = kDefaultMemoryPages);
  // The hypervisor's part of a domain's end: grants are refused from now on while what is mapped
  // stays valid memory, and ports are closed. XenStore nodes are the toolstack's matter.
  void destroy_domain(DomainId id);
  std::shared_ptr<GuestDomain> find_domain(DomainId id) const;

  Faults& faults() { return faults_; }

 private:
  class Host;

  Faults faults_;
  EventHub hub_{faults_};
  StoreServer store_{faults_};
  Usage guest_usage_;
  mutable std::mutex mutex_;
  std::map<DomainId, std::unique_ptr<Host>> hosts_;           // under mutex_
  std::map<DomainId, std::shared_ptr<GuestDomain>> domains_;  // under mutex_
};

}  // namespace xenblk::loopback
