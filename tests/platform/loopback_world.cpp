// The contract tests' surroundings on the loopback Xen: domain 7 is the peer of domain 0.
#include <map>

#include "backend/platform/loopback/loopback_xen.h"
#include "tests/platform/contract/world.h"

namespace xenblk::contract {
namespace {

class LoopbackWorld final : public World {
 public:
  Xen& xen() override { return xen_.host(); }
  DomainId peer() const override { return guest_->id(); }

  PeerPage grant_page(Access access) override {
    std::byte* const page = guest_->allocate_pages(1).data();
    return {guest_->grant(page, {0}, access), page};
  }
  GrantRef unused_ref() override { return {20000}; }

  EventPort allocate_port() override {
    auto port = guest_->allocate_port({0});
    const EventPort number = port->port();
    ports_[number] = std::move(port);
    return number;
  }
  void notify_from_peer(EventPort port) override { ports_.at(port)->notify(); }
  bool peer_receives(EventPort port, int timeout_ms) override {
    return ports_.at(port)->wait(static_cast<std::uint32_t>(timeout_ms));
  }

  std::string scratch_path() override { return "/local/domain/0/contract"; }

 private:
  loopback::LoopbackXen xen_;
  std::shared_ptr<loopback::GuestDomain> guest_ = xen_.create_domain({7});
  std::map<EventPort, std::unique_ptr<loopback::GuestPort>> ports_;
};

}  // namespace

std::unique_ptr<World> make_world() {
  return std::make_unique<LoopbackWorld>();
}

}  // namespace xenblk::contract
