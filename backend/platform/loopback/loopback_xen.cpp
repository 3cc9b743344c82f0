#include "backend/platform/loopback/loopback_xen.h"

#include <fmt/format.h>

#include "backend/platform/loopback/event_channels.h"
#include "backend/platform/loopback/grant_table.h"
#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {

namespace {

void make_directories(XenStore& store, DomainId id) {
  const auto own = fmt::format("/local/domain/{}", id.n);
  const NodePermission guest_reads[] = {{{0}, NodeRights::none}, {id, NodeRights::read}};
  const NodePermission guest_owns[] = {{id, NodeRights::none}};
  store.write(own, "").value();
  store.set_permissions(own, guest_reads).value();
  for (const char* const name : {"device", "data"}) {
    store.write(own + "/" + name, "").value();
    store.set_permissions(own + "/" + name, guest_owns).value();
  }
}

}  // namespace

class LoopbackXen::Host final : public Xen {
 public:
  Host(LoopbackXen& xen, DomainId id) : xen_(xen), id_(id) {}
  const Usage& usage() const { return usage_; }

  Expected<std::unique_ptr<XenStore>> open_store() override {
    return std::make_unique<StoreConnection>(xen_, xen_.store_, usage_, id_);
  }
  Expected<std::unique_ptr<EventChannels>> open_event_channels() override {
    return std::make_unique<LoopbackEventChannels>(xen_.hub_, usage_, id_);
  }
  Expected<std::unique_ptr<GrantTable>> open_grant_table() override {
    return std::make_unique<LoopbackGrantTable>(xen_, usage_, id_);
  }

 private:
  LoopbackXen& xen_;
  DomainId id_;
  Usage usage_;
};

LoopbackXen::LoopbackXen() = default;

LoopbackXen::~LoopbackXen() {
  for (const auto& [id, host] : hosts_) {
    const Usage& usage = host->usage();
    require(usage.grant_tables == 0 && usage.event_handles == 0 && usage.stores == 0,
            "every handle is closed before its loopback Xen");
  }
  require(guest_usage_.stores == 0, "guests close XenStore before the loopback Xen ends");
}

Xen& LoopbackXen::host(DomainId backend) {
  const std::scoped_lock lock(mutex_);
  auto& host = hosts_[backend];
  if (host == nullptr) host = std::make_unique<Host>(*this, backend);
  return *host;
}

const Usage& LoopbackXen::usage(DomainId backend) {
  return static_cast<Host&>(host(backend)).usage();
}

std::unique_ptr<StoreConnection> LoopbackXen::open_store_as(DomainId domain) {
  return std::make_unique<StoreConnection>(*this, store_, guest_usage_, domain);
}

std::shared_ptr<GuestDomain> LoopbackXen::create_domain(DomainId id, std::uint32_t memory_pages) {
  auto guest = std::make_shared<GuestDomain>(*this, hub_, id, memory_pages);
  {
    const std::scoped_lock lock(mutex_);
    require(id.n != 0 && domains_.emplace(id, guest).second, "a new domain has a free identifier");
  }
  make_directories(*open_store_as({0}), id);
  store_.fire_special("@introduceDomain");
  return guest;
}

void LoopbackXen::destroy_domain(DomainId id) {
  const auto guest = find_domain(id);
  require(guest != nullptr, "a domain is destroyed once");
  {
    const std::scoped_lock lock(mutex_);
    domains_.erase(id);
  }
  guest->entries().close();
  hub_.close_domain(id);
  store_.lose_connections(id);
  store_.fire_special("@releaseDomain");
}

std::shared_ptr<GuestDomain> LoopbackXen::find_domain(DomainId id) const {
  const std::scoped_lock lock(mutex_);
  const auto found = domains_.find(id);
  return found == domains_.end() ? nullptr : found->second;
}

}  // namespace xenblk::loopback
