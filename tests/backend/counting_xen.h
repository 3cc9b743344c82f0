// A Xen that counts what its user asks XenStore, and is told by it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "xenblk/xen.h"

namespace xenblk::backend {

class CountingStore final : public XenStore {
 public:
  CountingStore(std::unique_ptr<XenStore> real, std::uint64_t& reads, std::uint64_t& events)
      : real_(std::move(real)), reads_(reads), events_(events) {}

  Expected<std::string> read(std::string_view path, Transaction transaction) override {
    ++reads_;
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
  Expected<std::optional<WatchEvent>> next_event() override {
    auto event = real_->next_event();
    if (event && *event) ++events_;
    return event;
  }
  bool domain_exists(DomainId domain) override { return real_->domain_exists(domain); }

 private:
  std::unique_ptr<XenStore> real_;
  std::uint64_t& reads_;
  std::uint64_t& events_;
};

// Pinned; borrows `real`. The stores are for one thread, which may read the counts.
class CountingXen final : public Xen {
 public:
  explicit CountingXen(Xen& real) : real_(real) {}

  Expected<std::unique_ptr<XenStore>> open_store() override {
    auto real = real_.open_store();
    if (!real) return real;
    return std::make_unique<CountingStore>(std::move(*real), reads_, events_);
  }
  Expected<std::unique_ptr<EventChannels>> open_event_channels() override {
    return real_.open_event_channels();
  }
  Expected<std::unique_ptr<GrantTable>> open_grant_table() override {
    return real_.open_grant_table();
  }
  std::uint64_t reads() const { return reads_; }
  std::uint64_t events() const { return events_; }

 private:
  Xen& real_;
  std::uint64_t reads_ = 0;
  std::uint64_t events_ = 0;
};

}  // namespace xenblk::backend
