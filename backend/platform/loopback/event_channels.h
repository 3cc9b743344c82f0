// The event channel seam as a backend domain of the loopback Xen sees it.
#pragma once

#include "backend/platform/loopback/event_hub.h"
#include "backend/platform/loopback/own_bug.h"
#include "backend/platform/loopback/usage.h"
#include "xenblk/xen.h"

namespace xenblk::loopback {

// Pinned. One thread at a time, checked.
class LoopbackEventChannels final : public EventChannels {
 public:
  LoopbackEventChannels(EventHub& hub, Usage& usage, DomainId own);
  ~LoopbackEventChannels() override;
  LoopbackEventChannels(const LoopbackEventChannels&) = delete;
  LoopbackEventChannels& operator=(const LoopbackEventChannels&) = delete;

  Expected<EventPort> bind(DomainId peer, EventPort remote) override;
  void unbind(EventPort local) noexcept override;
  void notify(EventPort local) noexcept override;
  int fd() const override { return endpoint_.fd(); }
  std::size_t take_pending(std::span<EventPort> out) noexcept override;
  void unmask(std::span<const EventPort> ports) noexcept override;

 private:
  EventHub& hub_;
  Usage& usage_;
  Endpoint endpoint_;
  SingleCaller caller_;
};

}  // namespace xenblk::loopback
