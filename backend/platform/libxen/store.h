// XenStore through libxenstore.
#pragma once

// The headers of Xen 4.17 do not say by themselves that their functions are C.
extern "C" {
#include <xenstore.h>
}

#include <memory>
#include <string>

#include "xenblk/xen.h"

namespace xenblk::libxen {

class LibxenStore final : public XenStore {
 public:
  static Expected<std::unique_ptr<XenStore>> open();

  Expected<std::string> read(std::string_view path, Transaction transaction) override;
  Expected<void> write(std::string_view path, std::string_view value,
                       Transaction transaction) override;
  Expected<void> remove(std::string_view path, Transaction transaction) override;
  Expected<std::vector<std::string>> list(std::string_view path, Transaction transaction) override;
  Expected<std::vector<NodePermission>> permissions(std::string_view path) override;
  Expected<void> set_permissions(std::string_view path,
                                 std::span<const NodePermission> permissions) override;
  Expected<Transaction> begin() override;
  Expected<CommitResult> commit(Transaction transaction) override;
  void abort(Transaction transaction) noexcept override;
  Expected<void> watch(std::string_view path, std::string_view token) override;
  void unwatch(std::string_view path, std::string_view token) noexcept override;
  int fd() const override { return xs_fileno(handle_.get()); }
  Expected<std::optional<WatchEvent>> next_event() override;
  bool domain_exists(DomainId domain) override;

 private:
  struct Closer {
    void operator()(xs_handle* handle) const { xs_close(handle); }
  };
  using Handle = std::unique_ptr<xs_handle, Closer>;
  explicit LibxenStore(Handle handle) : handle_(std::move(handle)) {}

  Handle handle_;
};

}  // namespace xenblk::libxen
