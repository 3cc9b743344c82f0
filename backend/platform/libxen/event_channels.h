// Event channels through /dev/xen/evtchn.
#pragma once

// The headers of Xen 4.17 do not say by themselves that their functions are C.
extern "C" {
#include <xenevtchn.h>
}

#include <memory>
#include <optional>
#include <vector>

#include "backend/platform/libxen/interrupt_steering.h"
#include "backend/platform/libxen/quiet_logger.h"
#include "xenblk/xen.h"

namespace xenblk::libxen {

class LibxenEventChannels final : public EventChannels {
 public:
  static Expected<std::unique_ptr<EventChannels>> open();

  Expected<EventPort> bind(DomainId peer, EventPort remote) override;
  void unbind(EventPort local) noexcept override;
  void notify(EventPort local) noexcept override;
  int fd() const override { return descriptor_; }
  bool fd_speaks_ports() const override { return true; }
  void prefer_cpu(std::uint32_t cpu) override { steering_.emplace(cpu); }
  std::size_t take_pending(std::span<EventPort> out) noexcept override;
  void unmask(std::span<const EventPort> ports) noexcept override;

 private:
  struct Closer {
    void operator()(xenevtchn_handle* handle) const { xenevtchn_close(handle); }
  };
  using Handle = std::unique_ptr<xenevtchn_handle, Closer>;

  LibxenEventChannels(QuietLogger logger, Handle handle, int descriptor)
      : logger_(std::move(logger)), handle_(std::move(handle)), descriptor_(descriptor) {}

  std::size_t keep_bound(std::span<EventPort> ports) const;

  QuietLogger logger_;
  Handle handle_;
  const int descriptor_;
  std::vector<bool> bound_;  // by port number
  std::optional<InterruptSteering> steering_;
};

}  // namespace xenblk::libxen
