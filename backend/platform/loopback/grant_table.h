// The grant table seam as a backend domain of the loopback Xen sees it.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "backend/platform/loopback/own_bug.h"
#include "backend/platform/loopback/usage.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

class GuestDomain;
class LoopbackXen;

// Pinned. One thread at a time, checked.
class LoopbackGrantTable final : public GrantTable {
 public:
  LoopbackGrantTable(LoopbackXen& xen, Usage& usage, DomainId own);
  ~LoopbackGrantTable() override;
  LoopbackGrantTable(const LoopbackGrantTable&) = delete;
  LoopbackGrantTable& operator=(const LoopbackGrantTable&) = delete;

  Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs, Access access) override;
  void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) override;

  // As the kernel does when the process has died: unmaps what is mapped, whoever thinks to own it.
  void release_all() noexcept;

 private:
  struct Mapped {
    std::shared_ptr<GuestDomain> guest;
    std::vector<GrantRef> refs;
  };

  void unmap(std::byte* address, std::size_t pages) noexcept override;
  CopyStatus copy_one(GuestDomain& guest, const GrantCopy& segment, CopyDirection direction);

  LoopbackXen& xen_;
  Usage& usage_;
  DomainId own_;
  SingleCaller caller_;
  std::map<std::byte*, Mapped> mapped_;
};

}  // namespace xenblk::loopback
