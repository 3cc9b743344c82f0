#include "backend/platform/loopback/toolstack.h"

#include <fmt/format.h>

#include "backend/platform/loopback/own_bug.h"

namespace xenblk::loopback {
namespace {

using Nodes = std::map<std::string, std::string>;

Nodes backend_nodes(const Disk& disk) {
  Nodes nodes = {{"frontend", frontend_path(disk.guest, disk.device)},
                 {"frontend-id", fmt::to_string(disk.guest.n)},
                 {"online", "1"},
                 {"state", "1"},
                 {"params", disk.params},
                 {"type", "phy"},
                 {"script", "/etc/xen/scripts/block"},
                 {"mode", disk.mode},
                 {"device-type", disk.device_type},
                 {"removable", disk.device_type == "cdrom" ? "1" : "0"},
                 {"bootable", "1"},
                 {"dev", "xvda"},
                 {"specification", "xen"},
                 {"discard-enable", disk.mode == "r" ? "0" : "1"}};
  for (const auto& [name, value] : disk.extra) nodes[name] = value;
  return nodes;
}

Nodes frontend_nodes(const Disk& disk) {
  return {{"backend", backend_path(disk)},
          {"backend-id", fmt::to_string(disk.backend.n)},
          {"state", "1"},
          {"virtual-device", fmt::to_string(disk.device.n)},
          {"device-type", disk.device_type},
          {"trusted", "1"}};
}

}  // namespace

std::string frontend_path(DomainId guest, DeviceId device) {
  return fmt::format("/local/domain/{}/device/vbd/{}", guest.n, device.n);
}

std::string backend_path(const Disk& disk) {
  return fmt::format("/local/domain/{}/backend/{}/{}/{}", disk.backend.n, disk.kind, disk.guest.n,
                     disk.device.n);
}

void LoopbackToolstack::add_disk(const Disk& disk) {
  transact([&](Transaction transaction) { create(disk, transaction); });
}

void LoopbackToolstack::create(const Disk& disk, Transaction transaction) {
  // libxl_device.c: the owner of each directory writes it and the other side reads it.
  const NodePermission guest_owns[] = {{disk.guest, NodeRights::none},
                                       {disk.backend, NodeRights::read}};
  const NodePermission backend_owns[] = {{disk.backend, NodeRights::none},
                                         {disk.guest, NodeRights::read}};
  const std::string front = frontend_path(disk.guest, disk.device);
  const std::string back = backend_path(disk);
  put(front, "", transaction);
  store_->set_permissions(front, guest_owns, transaction).value();
  put(back, "", transaction);
  store_->set_permissions(back, backend_owns, transaction).value();
  for (const auto& [name, value] : frontend_nodes(disk))
    put(front + "/" + name, value, transaction);
  for (const auto& [name, value] : backend_nodes(disk)) put(back + "/" + name, value, transaction);
}

void LoopbackToolstack::request_removal(const Disk& disk) {
  transact([&](Transaction transaction) { ask_for_removal(disk, transaction); });
}

void LoopbackToolstack::ask_for_removal(const Disk& disk, Transaction transaction) {
  const std::string back = backend_path(disk);
  put(back + "/online", "0", transaction);
  if (store_->read(back + "/state", transaction).value_or("6") != "6") {
    put(back + "/state", "5", transaction);
  }
}

bool LoopbackToolstack::remove_disk(const Disk& disk, const Patience& patience) {
  request_removal(disk);
  return finish_removal(disk, patience);
}

bool LoopbackToolstack::force_remove_disk(const Disk& disk, const Patience& patience) {
  transact([&](Transaction transaction) {
    ask_for_removal(disk, transaction);
    (void)store_->remove(frontend_path(disk.guest, disk.device), transaction);
  });
  return finish_removal(disk, patience);
}

// The directories may be gone already: a frontend or a backend that vanishes is a case, not an
// error.
bool LoopbackToolstack::finish_removal(const Disk& disk, const Patience& patience) {
  const auto closed = [](const NodeValue& state) { return !state || state == "6"; };
  if (!wait_for_node(*store_, backend_path(disk) + "/state", closed, patience)) return false;
  transact([&](Transaction transaction) {
    (void)store_->remove(frontend_path(disk.guest, disk.device), transaction);
    (void)store_->remove(backend_path(disk), transaction);
  });
  return true;
}

bool LoopbackToolstack::destroy_domain(DomainId guest, std::initializer_list<Disk> disks,
                                       const Patience& patience) {
  bool all_closed = true;
  for (const Disk& disk : disks) all_closed &= force_remove_disk(disk, patience);
  xen_.destroy_domain(guest);
  (void)store_->remove(fmt::format("/local/domain/{}", guest.n), {});
  return all_closed;
}

void LoopbackToolstack::transact(const std::function<void(Transaction)>& body) {
  for (;;) {
    const auto transaction = store_->begin().value();
    body(transaction);
    if (store_->commit(transaction).value() == CommitResult::committed) return;
  }
}

void LoopbackToolstack::put(const std::string& path, std::string_view value,
                            Transaction transaction) {
  require(store_->write(path, value, transaction).has_value(), "a toolstack may write anywhere");
}

}  // namespace xenblk::loopback
