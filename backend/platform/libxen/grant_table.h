// The grant table through /dev/xen/gntdev.
#pragma once

// The headers of Xen 4.17 do not say by themselves that their functions are C.
extern "C" {
#include <xengnttab.h>
}

#include <array>
#include <memory>

#include "backend/platform/libxen/quiet_logger.h"
#include "xenblk/xen.h"

namespace xenblk::libxen {

class LibxenGrantTable final : public GrantTable {
 public:
  static Expected<std::unique_ptr<GrantTable>> open();

  Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs, Access access) override;
  void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) override;

 private:
  // Segments of one system call. The kernel takes any number and works in hypercalls of 16.
  static constexpr std::size_t kCopyBatch = 256;
  struct Closer {
    void operator()(xengnttab_handle* handle) const { xengnttab_close(handle); }
  };
  using Handle = std::unique_ptr<xengnttab_handle, Closer>;

  LibxenGrantTable(QuietLogger logger, Handle handle)
      : logger_(std::move(logger)), handle_(std::move(handle)) {}
  void unmap(std::byte* address, std::size_t pages) noexcept override;
  std::size_t stage(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction);
  void copy_staged(std::size_t count);
  void run(std::size_t count);

  QuietLogger logger_;
  Handle handle_;
  // What the library wants, and which of the caller's segments each entry stands for.
  std::array<xengnttab_grant_copy_segment_t, kCopyBatch> staged_;
  std::array<GrantCopy*, kCopyBatch> origin_;
};

}  // namespace xenblk::libxen
