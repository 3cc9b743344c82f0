// A Xen, and its XenStore, that pass everything on: for those that change or count a few of the
// calls.
#pragma once

#include <memory>
#include <utility>

#include "xenblk/xen.h"

namespace xenblk::test {

class ForwardedStore : public XenStore {
 public:
  explicit ForwardedStore(std::unique_ptr<XenStore> real) : real_(std::move(real)) {}

  Expected<std::string> read(std::string_view path, Transaction transaction) override {
    return real_->read(path, transaction);
  }
  Expected<void> write(std::string_view path, std::string_view value,
                       Transaction transaction) override {
    return real_->write(path, value, transaction);
  }
  Expected<void> remove(std::string_view path, Transaction transaction) override {
    return real_->remove(path, transaction);
  }
  Expected<std::vector<std::string>> list(std::string_view path, Transaction transaction) override {
    return real_->list(path, transaction);
  }
  Expected<std::vector<NodePermission>> permissions(std::string_view path) override {
    return real_->permissions(path);
  }
  Expected<void> set_permissions(std::string_view path,
                                 std::span<const NodePermission> permissions) override {
    return real_->set_permissions(path, permissions);
  }
  Expected<Transaction> begin() override { return real_->begin(); }
  Expected<CommitResult> commit(Transaction transaction) override {
    return real_->commit(transaction);
  }
  void abort(Transaction transaction) noexcept override { real_->abort(transaction); }
  Expected<void> watch(std::string_view path, std::string_view token) override {
    return real_->watch(path, token);
  }
  void unwatch(std::string_view path, std::string_view token) noexcept override {
    real_->unwatch(path, token);
  }
  int fd() const override { return real_->fd(); }
  Expected<std::optional<WatchEvent>> next_event() override { return real_->next_event(); }
  bool domain_exists(DomainId domain) override { return real_->domain_exists(domain); }

 protected:
  std::unique_ptr<XenStore> real_;
};

// Pinned; borrows `real`.
class ForwardedXen : public Xen {
 public:
  explicit ForwardedXen(Xen& real) : real_(real) {}

  Expected<std::unique_ptr<XenStore>> open_store() override { return real_.open_store(); }
  Expected<std::unique_ptr<EventChannels>> open_event_channels() override {
    return real_.open_event_channels();
  }
  Expected<std::unique_ptr<GrantTable>> open_grant_table() override {
    return real_.open_grant_table();
  }

 private:
  Xen& real_;
};

}  // namespace xenblk::test
