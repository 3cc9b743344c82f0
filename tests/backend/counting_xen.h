// A Xen that counts what its user asks XenStore, and is told by it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "tests/forwarded_xen.h"

namespace xenblk::backend {

class CountingStore final : public test::ForwardedStore {
 public:
  CountingStore(std::unique_ptr<XenStore> real, std::uint64_t& reads, std::uint64_t& events)
      : ForwardedStore(std::move(real)), reads_(reads), events_(events) {}

  Expected<std::string> read(std::string_view path, Transaction transaction) override {
    ++reads_;
    return ForwardedStore::read(path, transaction);
  }
  Expected<std::optional<WatchEvent>> next_event() override {
    auto event = ForwardedStore::next_event();
    if (event && *event) ++events_;
    return event;
  }

 private:
  std::uint64_t& reads_;
  std::uint64_t& events_;
};

// The stores are for one thread, which may read the counts.
class CountingXen final : public test::ForwardedXen {
 public:
  using ForwardedXen::ForwardedXen;

  Expected<std::unique_ptr<XenStore>> open_store() override {
    auto real = ForwardedXen::open_store();
    if (!real) return real;
    return std::make_unique<CountingStore>(std::move(*real), reads_, events_);
  }
  std::uint64_t reads() const { return reads_; }
  std::uint64_t events() const { return events_; }

 private:
  std::uint64_t reads_ = 0;
  std::uint64_t events_ = 0;
};

}  // namespace xenblk::backend
