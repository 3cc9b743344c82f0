// The Xen that the daemon of a simulation sees: its connections to XenStore end when it is killed,
// and report changes more often than there were any.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "tests/forwarded_xen.h"
#include "tests/sim/system/chance.h"

namespace xenblk::sim {

class SimStore final : public test::ForwardedStore {
 public:
  SimStore(std::unique_ptr<XenStore> real, Dice& dice, bool storms)
      : ForwardedStore(std::move(real)), dice_(dice), storms_(storms) {}
  // Nothing of its owner runs any more.
  void die() { real_.reset(); }

  void unwatch(std::string_view path, std::string_view token) noexcept override {
    if (last_ && last_->token == token) last_.reset();
    ForwardedStore::unwatch(path, token);
  }

  // In a storm the last event comes again and again between those that there are.
  Expected<std::optional<WatchEvent>> next_event() override {
    if (storms_ && last_ && !dice_.one_in(20)) return last_;
    auto event = ForwardedStore::next_event();
    if (event) last_ = *event;
    return event;
  }

 private:
  Dice& dice_;
  const bool storms_;
  std::optional<WatchEvent> last_;
};

// Borrows all it is given.
class SimXen final : public test::ForwardedXen {
 public:
  SimXen(Xen& real, Dice& dice, bool storms) : ForwardedXen(real), dice_(dice), storms_(storms) {}

  Expected<std::unique_ptr<XenStore>> open_store() override {
    auto real = ForwardedXen::open_store();
    if (!real) return real;
    auto store = std::make_unique<SimStore>(std::move(*real), dice_, storms_);
    store_ = store.get();
    return store;
  }
  // Of the daemon, which has one.
  SimStore& store() { return *store_; }

 private:
  Dice& dice_;
  const bool storms_;
  SimStore* store_ = nullptr;
};

}  // namespace xenblk::sim
