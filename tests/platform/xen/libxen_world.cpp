// The contract tests' surroundings in a real dom0: domain 0 is its own peer.
#include <unistd.h>

#include <string>

#include "backend/platform/libxen/libxen.h"
#include "backend/platform/libxen/peer.h"
#include "tests/platform/contract/world.h"

namespace xenblk::contract {
namespace {

class LibxenWorld final : public World {
 public:
  ~LibxenWorld() override {
    if (auto store = xen_->open_store()) (void)(*store)->remove(scratch_path());
  }

  Xen& xen() override { return *xen_; }
  DomainId peer() const override { return libxen::Peer::domain(); }

  PeerPage grant_page(Access access) override {
    const auto page = peer_->grant_page(access).value();
    return {page.ref, page.address};
  }
  // Granted, then ended: within the table, and nobody else takes it while this program runs alone.
  GrantRef unused_ref() override {
    return libxen::Peer::open().value()->grant_page(Access::read_write).value().ref;
  }

  EventPort allocate_port() override { return peer_->allocate_port().value(); }
  void notify_from_peer(EventPort port) override { peer_->notify(port); }
  bool peer_receives(EventPort port, int timeout_ms) override {
    return peer_->receives(port, timeout_ms);
  }

  std::string scratch_path() override {
    return "/local/domain/0/xenblk-contract-" + std::to_string(::getpid());
  }

 private:
  std::unique_ptr<Xen> xen_ = libxen::open_xen();
  std::unique_ptr<libxen::Peer> peer_ = libxen::Peer::open().value();
};

}  // namespace

std::unique_ptr<World> make_world() {
  return std::make_unique<LibxenWorld>();
}

}  // namespace xenblk::contract
