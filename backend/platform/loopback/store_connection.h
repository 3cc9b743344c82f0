// One connection to the loopback XenStore: the seam, for a backend domain and for guests alike.
#pragma once

#include <memory>

#include "backend/platform/loopback/own_bug.h"
#include "backend/platform/loopback/store_server.h"
#include "backend/platform/loopback/usage.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

class LoopbackXen;

// Pinned. One thread at a time, checked.
class StoreConnection final : public XenStore {
 public:
  StoreConnection(LoopbackXen& xen, StoreServer& server, Usage& usage, DomainId own);
  ~StoreConnection() override;
  StoreConnection(const StoreConnection&) = delete;
  StoreConnection& operator=(const StoreConnection&) = delete;

  Expected<std::string> read(std::string_view path, Transaction transaction) override;
  Expected<void> write(std::string_view path, std::string_view value,
                       Transaction transaction) override;
  Expected<void> remove(std::string_view path, Transaction transaction) override;
  Expected<std::vector<std::string>> list(std::string_view path, Transaction transaction) override;
  Expected<std::vector<NodePermission>> permissions(std::string_view path) override;
  Expected<void> set_permissions(std::string_view path,
                                 std::span<const NodePermission> permissions) override;
  // For the toolstack, which creates directories and their permissions in one transaction.
  Expected<void> set_permissions(std::string_view path, std::span<const NodePermission> permissions,
                                 Transaction transaction);

  Expected<Transaction> begin() override;
  Expected<CommitResult> commit(Transaction transaction) override;
  void abort(Transaction transaction) noexcept override;

  Expected<void> watch(std::string_view path, std::string_view token) override;
  void unwatch(std::string_view path, std::string_view token) noexcept override;
  int fd() const override { return client_.fd(); }
  Expected<std::optional<WatchEvent>> next_event() override;
  bool domain_exists(DomainId domain) override;

 private:
  LoopbackXen& xen_;
  StoreServer& server_;
  Usage& usage_;
  StoreClient client_;
  SingleCaller caller_;
  std::uint64_t watches_ = 0;
  std::uint64_t transactions_ = 0;
};

}  // namespace xenblk::loopback
