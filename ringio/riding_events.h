// Event channels as a worker uses them whose descriptor speaks ports: reading and unmasking ride
// along with the engine's turns and cost no system calls of their own. Everything else goes to the
// channels themselves. Pinned; one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ringio/uring_engine.h"
#include "xenblk/xen.h"

namespace xenblk::ringio {

class RidingEvents final : public EventChannels {
 public:
  // Both are borrowed. The channels' descriptor speaks ports. The engine is gone before this is.
  RidingEvents(EventChannels& channels, UringEngine& engine);
  RidingEvents(const RidingEvents&) = delete;
  RidingEvents& operator=(const RidingEvents&) = delete;

  // Begins to read. `signal` runs in the engine's turns when there are ports to take.
  void start(void (*signal)(void* context) noexcept, void* context) noexcept;

  Expected<EventPort> bind(DomainId peer, EventPort remote) override {
    return channels_.bind(peer, remote);
  }
  void unbind(EventPort local) noexcept override { channels_.unbind(local); }
  void notify(EventPort local) noexcept override { channels_.notify(local); }
  int fd() const override { return channels_.fd(); }
  void prefer_cpu(std::uint32_t cpu) override { channels_.prefer_cpu(cpu); }
  std::size_t take_pending(std::span<EventPort> out) noexcept override;
  void unmask(std::span<const EventPort> ports) noexcept override;

 private:
  struct Read : StreamRead {
    RidingEvents* owner = nullptr;
  };
  struct Writer : StreamWriter {
    RidingEvents* owner = nullptr;
  };
  struct Fallback : Watch {
    RidingEvents* owner = nullptr;
  };

  void read_again() noexcept;
  void read_done(std::size_t bytes) noexcept;

  EventChannels& channels_;
  UringEngine& engine_;
  void (*signal_)(void*) noexcept = nullptr;
  void* context_ = nullptr;

  std::array<EventPort, 256> incoming_ = {};
  std::span<const EventPort> untaken_;  // of these
  Read read_;
  Fallback fallback_;
  bool reading_ = false;
  bool falls_back_ = false;  // the kernel cannot read the descriptor so
  Writer writer_;
};

}  // namespace xenblk::ringio
