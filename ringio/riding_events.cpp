#include "ringio/riding_events.h"

#include <algorithm>
#include <cassert>

namespace xenblk::ringio {

RidingEvents::RidingEvents(EventChannels& channels, UringEngine& engine)
    : channels_(channels), engine_(engine) {
  assert(channels.fd_speaks_ports());
  read_.owner = this;
  read_.descriptor = channels.fd();
  read_.buffer = std::as_writable_bytes(std::span(incoming_));
  read_.done = [](StreamRead& read, std::size_t bytes) noexcept {
    static_cast<Read&>(read).owner->read_done(bytes);
  };
  fallback_.owner = this;
  fallback_.descriptor = channels.fd();
  fallback_.ready = [](Watch& watch) noexcept {
    const auto& owner = *static_cast<Fallback&>(watch).owner;
    owner.signal_(owner.context_);
  };
  writer_.owner = this;
  writer_.descriptor = channels.fd();
  writer_.failed = [](StreamWriter& writer, std::span<const std::byte> bytes) noexcept {
    const auto* ports = reinterpret_cast<const EventPort*>(bytes.data());
    static_cast<Writer&>(writer).owner->channels_.unmask({ports, bytes.size() / sizeof *ports});
  };
}

void RidingEvents::start(void (*signal)(void*) noexcept, void* context) noexcept {
  signal_ = signal;
  context_ = context;
  read_again();
}

void RidingEvents::read_again() noexcept {
  reading_ = true;
  engine_.read(read_);
}

void RidingEvents::read_done(std::size_t bytes) noexcept {
  reading_ = false;
  if (bytes == 0) {
    falls_back_ = true;
    engine_.watch(fallback_);
  }
  untaken_ = std::span(incoming_).first(bytes / sizeof(EventPort));
  signal_(context_);
}

std::size_t RidingEvents::take_pending(std::span<EventPort> out) noexcept {
  if (falls_back_) return channels_.take_pending(out);
  const auto taken = untaken_.first(std::min(untaken_.size(), out.size()));
  std::ranges::copy(taken, out.begin());
  untaken_ = untaken_.subspan(taken.size());
  if (untaken_.empty() && !reading_) read_again();
  return taken.size();
}

void RidingEvents::unmask(std::span<const EventPort> ports) noexcept {
  if (!engine_.write(writer_, std::as_bytes(ports))) channels_.unmask(ports);
}

}  // namespace xenblk::ringio
