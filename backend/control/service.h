// Carries out the commands of the control socket on a backend.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "backend/control/answer.h"
#include "backend/control/command.h"

namespace xenblk::control {

// Pinned; used by the loop's thread, destroyed before the backend.
class Service {
 public:
  // `backend` is borrowed. `end_daemon` is called for `shutdown`, from inside execute() or when the
  // last disk is closed; it must not destroy the service.
  Service(backend::Backend& backend, std::function<void()> end_daemon);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Answers once, now or when it is done. Nothing is changed by a command that is answered with an
  // error.
  void execute(const Command& command, Reply reply);

  std::vector<NamedDisk> all_disks();

 private:
  // Somebody who waits until a disk, or each disk, is closed.
  struct Waiting {
    std::optional<negotiation::DeviceKey> key;
    Reply reply;
  };
  void execute_on(backend::Device& device, const Command& command, Reply reply);
  void limit_guest(const Command& command, const Reply& reply);
  Expected<const backend::Device*> find_guest(const GuestName& name);
  void serve_clients(backend::Device& device, const Command& command, Reply reply);
  Expected<backend::Device*> find(const DiskName& name);
  std::string guest_name(DomainId domain);
  NamedDisk named(const backend::Device& device);
  Json each(const std::function<Json(const NamedDisk&)>& show);
  void close(backend::Device& device, Reply reply);
  void shut_down(ShutdownMode mode, const Reply& reply);
  void wait(std::optional<negotiation::DeviceKey> key, Reply reply);
  void look_at_waiting();
  bool is_closed(const std::optional<negotiation::DeviceKey>& key) const;

  backend::Backend& backend_;
  const std::function<void()> end_daemon_;
  std::vector<Waiting> waiting_;
  bool shutting_down_ = false;
};

}  // namespace xenblk::control
