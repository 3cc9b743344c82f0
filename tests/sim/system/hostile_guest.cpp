#include "tests/sim/system/hostile_guest.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "xenblk/blkif.h"

namespace xenblk::sim {

using loopback::FrontendRequest;
using loopback::FrontendRing;

namespace {

constexpr DomainId kBackend{0};
constexpr std::uint32_t kPages = 24;

}  // namespace

HostileGuest::HostileGuest(loopback::LoopbackXen& xen, loopback::LoopbackToolstack& toolstack,
                           DomainId id, Dice& dice)
    : xen_(xen),
      toolstack_(toolstack),
      dice_(dice),
      toolstack_disk_{.guest = id, .params = fmt::format("sim:{}", id.n)},
      domain_(xen.create_domain(id, 16384)),
      store_(domain_->open_store()),
      path_(loopback::frontend_path(id, toolstack_disk_.device)),
      pages_(domain_->allocate_pages(kPages)) {
  toolstack_.add_disk(toolstack_disk_);
  for (std::uint32_t page = 0; page < kPages; ++page) {
    const auto access = page % 4 == 0 ? Access::read_only : Access::read_write;
    grants_.push_back(domain_->grant(pages_.data() + page * kPageBytes, kBackend, access));
  }
  make_rings();
}

// Old rings that are still mapped keep their memory; there is enough.
void HostileGuest::make_rings() {
  const auto count = 1 + dice_.below(2);
  const auto pages = 1U << dice_.below(2);
  const auto layout = dice_.one_in(2) ? blkif::Layout::x86_32 : blkif::Layout::x86_64;
  rings_.clear();
  ports_.clear();
  for (std::uint64_t i = 0; i < count; ++i) {
    rings_.push_back(std::make_unique<FrontendRing>(domain_, kBackend, layout, pages));
    ports_.push_back(domain_->allocate_port(kBackend));
  }
  publish_rings();
}

// Rightly, mostly: what comes after needs a backend that has connected.
void HostileGuest::publish_rings() {
  const auto& ring = *rings_.front();
  put(node("protocol"), ring.layout() == blkif::Layout::x86_32 ? "x86_32-abi" : "x86_64-abi");
  put(node("ring-page-order"), ring.refs().size() > 1 ? "1" : "0");
  put(node("multi-queue-num-queues"), fmt::to_string(rings_.size()));
  put(node("feature-persistent"), dice_.one_in(2) ? "1" : "0");
  for (std::size_t q = 0; q < rings_.size(); ++q) {
    const auto directory = rings_.size() == 1 ? path_ : fmt::format("{}/queue-{}", path_, q);
    for (std::size_t i = 0; i < rings_[q]->refs().size(); ++i) {
      put(fmt::format("{}/ring-ref{}", directory, i), fmt::to_string(rings_[q]->refs()[i].n));
    }
    put(directory + "/ring-ref", fmt::to_string(rings_[q]->refs().front().n));
    put(directory + "/event-channel", fmt::to_string(ports_[q]->port().n));
  }
  put(node("state"), "3");
}

void HostileGuest::step() {
  ++abuses_;
  switch (dice_.below(16)) {
    case 0:
      return write_nonsense();
    case 1:
      return write_state();
    case 2:
      if (dice_.one_in(4)) return make_rings();
      return put(node("state"), "4");
    case 3:
      return change_grants();
    case 4:
      return scribble();
    case 5:
      if (dice_.one_in(10)) return drop_port();
      [[fallthrough]];
    case 6:  // a flood of events
      for (int i = 0; i < 20; ++i) {
        for (const auto& port : ports_) port->notify();
      }
      return;
    default:
      return send_requests();
  }
}

void HostileGuest::write_nonsense() {
  constexpr std::array kNodes{"ring-ref",
                              "ring-ref0",
                              "ring-ref1",
                              "protocol",
                              "event-channel",
                              "ring-page-order",
                              "state",
                              "num-ring-pages",
                              "multi-queue-num-queues",
                              "queue-0",
                              "queue-1/ring-ref",
                              "queue-0/event-channel",
                              "feature-persistent"};
  const auto* const name = kNodes[dice_.below(kNodes.size())];
  if (dice_.one_in(5)) return static_cast<void>(store_->remove(node(name)));
  switch (dice_.below(7)) {
    case 0:
      return put(node(name), std::string(2000, '%'));
    case 1:
      return put(node(name), std::string("1\0002%s%n", 8));
    case 2:
      return put(node(name), "-1");
    case 3:
      return put(node(name), "4294967296");
    case 4:
      return put(node(name), fmt::to_string(dice_.below(3000)));
    case 5: {
      std::string value(dice_.below(40), ' ');
      for (char& c : value) c = static_cast<char>(dice_.below(256));
      return put(node(name), value);
    }
    default:
      return put(node(name), "");
  }
}

void HostileGuest::write_state() {
  if (dice_.one_in(20)) return static_cast<void>(store_->remove(path_));
  for (auto count = 1 + dice_.below(4); count > 0; --count) {
    put(node("state"), fmt::to_string(dice_.below(10)));
  }
}

void HostileGuest::send_requests() {
  auto& ring = any_ring();
  for (auto count = 1 + dice_.below(8); count > 0 && ring.room() > 0; --count) {
    ring.put(any_request());
  }
  ring.publish();
  for (const auto& port : ports_) port->notify();
  while (ring.take_response()) {
  }
  ring.arm();
}

GrantRef HostileGuest::any_grant() {
  switch (dice_.below(8)) {
    case 0:
      return {static_cast<std::uint32_t>(dice_.source()())};
    case 1:
      return any_ring().refs().front();
    default:
      return grants_[dice_.below(grants_.size())];
  }
}

FrontendRequest HostileGuest::any_request() {
  FrontendRequest request{.op = static_cast<std::uint8_t>(dice_.below(7)), .id = dice_.below(5)};
  request.sector = {dice_.one_in(10) ? dice_.source()() : dice_.below(1000)};
  if (dice_.one_in(20)) request.op = static_cast<std::uint8_t>(dice_.source()());
  if (request.op == loopback::wire(blkif::Op::discard)) {
    request.discard_count = {dice_.one_in(8) ? dice_.source()() : dice_.below(300)};
    request.discard_flag = static_cast<std::uint8_t>(dice_.below(3));
    return request;
  }
  if (request.op == loopback::wire(blkif::Op::indirect)) {
    request.indirect_op =
        static_cast<std::uint8_t>(dice_.one_in(8) ? dice_.below(256) : dice_.below(2));
    request.indirect_segment_count =
        static_cast<std::uint16_t>(dice_.one_in(8) ? dice_.source()() : dice_.below(600));
    for (auto& ref : request.indirect_refs) ref = any_grant();
    return request;
  }
  for (auto count = dice_.below(12); count > 0; --count) {
    const auto first = static_cast<std::uint8_t>(dice_.below(8));
    request.segments.push_back(
        {any_grant(), first, static_cast<std::uint8_t>(first + dice_.below(8 - first))});
    if (dice_.one_in(30)) {
      request.segments.back().last_sector = static_cast<std::uint8_t>(dice_.source()());
    }
  }
  if (dice_.one_in(25)) request.segment_count_override = static_cast<int>(dice_.below(256));
  return request;
}

// All that the backend shares with this guest may change at any moment.
void HostileGuest::interfere() {
  if (rings_.empty() || !dice_.one_in(3)) return;
  ++abuses_;
  if (dice_.one_in(12)) return change_grants();
  auto& ring = any_ring();
  // A slot becomes another request, all of it or a few bytes.
  const auto index = static_cast<std::uint32_t>(dice_.below(ring.entries()));
  const auto slot = encode(ring.layout(), any_request());
  const auto bytes = blkif::offsets(ring.layout()).slot;
  if (dice_.one_in(2)) return ring.overwrite(index, {slot.data(), bytes});
  auto* const at = ring.memory().data() + blkif::RingOffsets::slots + index * bytes;
  for (auto count = 1 + dice_.below(6); count > 0; --count) {
    at[dice_.below(bytes)] = static_cast<std::byte>(dice_.below(256));
  }
}

void HostileGuest::scribble() {
  using Ring = blkif::RingOffsets;
  auto& ring = any_ring();
  if (dice_.one_in(3)) {
    // Indirect pages are data pages to this guest: rubbish there are segments.
    auto page = pages_.subspan(dice_.below(kPages) * kPageBytes, kPageBytes);
    for (auto& byte : page.first(256)) byte = static_cast<std::byte>(dice_.source()());
    for (std::size_t at = 0; at + 8 <= page.size(); at += 8) {
      const auto segment = loopback::encode({any_grant()});
      if (!dice_.one_in(50)) std::memcpy(page.data() + at, segment.data(), segment.size());
    }
    return;
  }
  constexpr std::array kIndices{Ring::rsp_prod, Ring::req_event, Ring::rsp_event, Ring::req_prod};
  const auto at = kIndices[dice_.below(dice_.one_in(20) ? 4 : 3)];
  ring.store_index(at, dice_.one_in(2)
                           ? static_cast<std::uint32_t>(dice_.source()())
                           : ring.load_index(at) + static_cast<std::uint32_t>(dice_.below(70)));
}

void HostileGuest::change_grants() {
  const auto i = dice_.below(grants_.size());
  const auto* const page = pages_.data() + dice_.below(kPages) * kPageBytes;
  if (domain_->revoke(grants_[i]) == loopback::Revoked::still_mapped) return;
  grants_[i] =
      domain_->grant(page, kBackend, dice_.one_in(3) ? Access::read_only : Access::read_write);
}

void HostileGuest::drop_port() {
  const auto i = dice_.below(ports_.size());
  ports_[i].reset();
  ports_[i] = domain_->allocate_port(kBackend);
}

void HostileGuest::destroy() {
  removed_ = toolstack_.force_remove_disk(toolstack_disk_, {.timeout_ms = 0, .pump = {}});
  xen_.destroy_domain(toolstack_disk_.guest);
}

bool HostileGuest::is_closed() {
  if (removed_) return true;
  if (toolstack_.backend_state(toolstack_disk_).value_or("6") != "6") return false;
  return removed_ = toolstack_.force_remove_disk(toolstack_disk_, {.timeout_ms = 0, .pump = {}});
}

void HostileGuest::put(const std::string& path, const std::string& value) {
  static_cast<void>(store_->write(path, value));
}

}  // namespace xenblk::sim
