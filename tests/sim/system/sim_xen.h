// The Xen that the daemon of a simulation sees: its connections to XenStore end when it is killed,
// and report changes more often than there were any.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/sim/system/chance.h"
#include "xenblk/xen.h"

namespace xenblk::sim {

class SimStore final : public XenStore {
 public:
  SimStore(std::unique_ptr<XenStore> real, Dice& dice, bool storms)
      : real_(std::move(real)), dice_(dice), storms_(storms) {}
  // Nothing of its owner runs any more.
  void die() { real_.reset(); }

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
    if (last_ && last_->token == token) last_.reset();
    real_->unwatch(path, token);
  }
  int fd() const override { return real_->fd(); }

  // In a storm the last event comes again and again between those that there are.
  Expected<std::optional<WatchEvent>> next_event() override {
    if (storms_ && last_ && !dice_.one_in(20)) return last_;
    auto event = real_->next_event();
    if (event) last_ = *event;
    return event;
  }
  bool domain_exists(DomainId domain) override { return real_->domain_exists(domain); }

 private:
  std::unique_ptr<XenStore> real_;
  Dice& dice_;
  const bool storms_;
  std::optional<WatchEvent> last_;
};

// Pinned; borrows all it is given.
class SimXen final : public Xen {
 public:
  SimXen(Xen& real, Dice& dice, bool storms) : real_(real), dice_(dice), storms_(storms) {}

  Expected<std::unique_ptr<XenStore>> open_store() override {
    auto real = real_.open_store();
    if (!real) return real;
    auto store = std::make_unique<SimStore>(std::move(*real), dice_, storms_);
    store_ = store.get();
    return store;
  }
  Expected<std::unique_ptr<EventChannels>> open_event_channels() override {
    return real_.open_event_channels();
  }
  Expected<std::unique_ptr<GrantTable>> open_grant_table() override {
    return real_.open_grant_table();
  }
  // Of the daemon, which has one.
  SimStore& store() { return *store_; }

 private:
  Xen& real_;
  Dice& dice_;
  const bool storms_;
  SimStore* store_ = nullptr;
};

}  // namespace xenblk::sim
