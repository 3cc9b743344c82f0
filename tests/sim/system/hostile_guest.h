// A guest that keeps no rule. It does what a kernel that is out to break the backend can do, and
// expects nothing.
#pragma once

#include <memory>
#include <vector>

#include "backend/platform/loopback/frontend_ring.h"
#include "backend/platform/loopback/guest_domain.h"
#include "backend/platform/loopback/toolstack.h"
#include "tests/sim/system/chance.h"

namespace xenblk::sim {

// Pinned; borrows all it is given.
class HostileGuest {
 public:
  HostileGuest(loopback::LoopbackXen& xen, loopback::LoopbackToolstack& toolstack, DomainId id,
               Dice& dice);

  // Does one thing.
  void step();
  // Between any two calls that the backend makes: writes into what is shared.
  void interfere();
  // The toolstack destroys the domain: its disk is asked to close, by force.
  void destroy();
  // And has; then nothing of it is left in XenStore.
  bool is_closed();

  const loopback::Disk& disk() const { return toolstack_disk_; }
  std::uint64_t abuses() const { return abuses_; }

 private:
  void make_rings();
  void publish_rings();
  void write_nonsense();
  void write_state();
  void send_requests();
  loopback::FrontendRequest any_request();
  GrantRef any_grant();
  void scribble();
  void change_grants();
  void drop_port();
  std::string node(const char* name) const { return path_ + "/" + name; }
  void put(const std::string& path, const std::string& value);
  loopback::FrontendRing& any_ring() { return *rings_[dice_.below(rings_.size())]; }

  loopback::LoopbackXen& xen_;
  loopback::LoopbackToolstack& toolstack_;
  Dice& dice_;
  loopback::Disk toolstack_disk_;
  std::shared_ptr<loopback::GuestDomain> domain_;
  std::unique_ptr<XenStore> store_;
  std::string path_;
  std::vector<std::unique_ptr<loopback::FrontendRing>> rings_;
  std::vector<std::unique_ptr<loopback::GuestPort>> ports_;
  std::span<std::byte> pages_;
  std::vector<GrantRef> grants_;
  std::uint64_t abuses_ = 0;
  bool removed_ = false;
};

}  // namespace xenblk::sim
