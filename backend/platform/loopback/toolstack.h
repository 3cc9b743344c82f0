// What libxl does to a disk in XenStore: creation, removal, forced removal, the end of a domain
// (tools/libs/light/libxl_device.c and libxl_disk.c). No hotplug script is run.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "backend/platform/loopback/loopback_xen.h"
#include "backend/platform/loopback/store_wait.h"
#include "xenblk/units.h"

namespace xenblk::loopback {

struct Disk {
  DomainId guest;
  std::string params;
  DeviceId device = {51712};  // xvda
  DomainId backend = {0};
  std::string kind = "vbd";
  std::string mode = "w";
  std::string device_type = "disk";
  // Further nodes of the backend directory, or other values for the usual ones.
  std::map<std::string, std::string> extra = {};
};

std::string frontend_path(DomainId guest, DeviceId device);
std::string backend_path(const Disk& disk);

// Pinned; one thread.
class LoopbackToolstack {
 public:
  explicit LoopbackToolstack(LoopbackXen& xen) : xen_(xen), store_(xen.open_store_as({0})) {}

  // Both directories with their permissions in one transaction.
  void add_disk(const Disk& disk);
  // Asks for removal and, when the backend is Closed, deletes both directories. False: it did not
  // close in time and everything is left as it is.
  bool remove_disk(const Disk& disk, const Patience& patience);
  // Only asks: online=0, state=5.
  void request_removal(const Disk& disk);
  // The frontend's directory goes first, in the same transaction as the request.
  bool force_remove_disk(const Disk& disk, const Patience& patience);
  // Forced removal of these disks, then the domain and its part of XenStore.
  bool destroy_domain(DomainId guest, std::initializer_list<Disk> disks, const Patience& patience);

  NodeValue backend_state(const Disk& disk) {
    return read_node(*store_, backend_path(disk) + "/state");
  }
  NodeValue backend_node(const Disk& disk, std::string_view name) {
    return read_node(*store_, backend_path(disk) + "/" + std::string(name));
  }
  StoreConnection& store() { return *store_; }

 private:
  void create(const Disk& disk, Transaction transaction);
  void ask_for_removal(const Disk& disk, Transaction transaction);
  bool finish_removal(const Disk& disk, const Patience& patience);
  void transact(const std::function<void(Transaction)>& body);
  void put(const std::string& path, std::string_view value, Transaction transaction);

  LoopbackXen& xen_;
  std::unique_ptr<StoreConnection> store_;
};

}  // namespace xenblk::loopback
