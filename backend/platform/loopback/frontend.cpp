// The handshake; what goes through the queues is in frontend_io.cpp.
#include "backend/platform/loopback/frontend.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "backend/platform/loopback/toolstack.h"

namespace xenblk::loopback {
namespace {

// xen/include/public/io/xenbus.h, enum xenbus_state.
constexpr std::string_view kInitialising = "1", kInitWait = "2", kInitialised = "3",
                           kConnected = "4", kClosing = "5", kClosed = "6";

std::string_view protocol_of(blkif::Layout layout) {
  return blkif::offsets(layout).slot == blkif::kSlotX86_32.slot ? blkif::kProtocolX86_32
                                                                : blkif::kProtocolX86_64;
}

}  // namespace

SimulatedFrontend::SimulatedFrontend(std::shared_ptr<GuestDomain> guest, FrontendOptions options)
    : guest_(std::move(guest)),
      options_(std::move(options)),
      store_(guest_->open_store()),
      path_(frontend_path(guest_->id(), options_.device)) {}

Expected<void> SimulatedFrontend::connect() {
  if (auto offered = wait_for_offer(); !offered) return offered;
  if (auto published = publish_rings(); !published) return published;
  return finish_connect();
}

Expected<void> SimulatedFrontend::wait_for_offer() {
  auto backend = store_->read(path_ + "/backend");
  if (!backend) return std::unexpected(backend.error());
  backend_path_ = *backend;
  if (auto offered = wait_for_backend(kInitWait); !offered) return offered;
  return check_offer();
}

Expected<void> SimulatedFrontend::check_offer() {
  const auto order = static_cast<std::uint64_t>(std::bit_width(options_.queue.ring_pages) - 1);
  if (order > backend_number_or("max-ring-page-order", 0)) {
    return fail(Errc::refused, fmt::format("{}/max-ring-page-order", backend_path_));
  }
  if (options_.queues > backend_number_or("multi-queue-max-queues", 1)) {
    return fail(Errc::refused, fmt::format("{}/multi-queue-max-queues", backend_path_));
  }
  return {};
}

Expected<void> SimulatedFrontend::publish_rings() {
  queues_.clear();
  for (std::uint32_t i = 0; i < options_.queues; ++i) {
    queues_.push_back(std::make_unique<FrontendQueue>(guest_, options_.queue));
  }
  for (;;) {
    const auto transaction = store_->begin();
    if (!transaction) return std::unexpected(transaction.error());
    if (auto written = write_keys(*transaction); !written) {
      store_->abort(*transaction);
      return written;
    }
    const auto result = store_->commit(*transaction);
    if (!result) return std::unexpected(result.error());
    if (*result == CommitResult::committed) return switch_state(kInitialised);
  }
}

Expected<void> SimulatedFrontend::write_keys(Transaction transaction) {
  std::vector<std::pair<std::string, std::string>> nodes;
  if (options_.write_protocol) nodes.emplace_back("protocol", protocol_of(options_.queue.layout));
  nodes.emplace_back("feature-persistent", options_.grants == Grants::persistent ? "1" : "0");
  if (queues_.size() > 1) {
    nodes.emplace_back("multi-queue-num-queues", fmt::to_string(queues_.size()));
  }
  if (options_.queue.ring_pages > 1 || options_.keys != RingKeys::ring_ref) {
    const auto pages = options_.queue.ring_pages;
    if (options_.keys == RingKeys::num_ring_pages) {
      nodes.emplace_back("num-ring-pages", fmt::to_string(pages));
    } else {
      nodes.emplace_back("ring-page-order", fmt::to_string(std::bit_width(pages) - 1));
    }
  }
  for (const auto& [name, value] : nodes) {
    if (auto done = store_->write(path_ + "/" + name, value, transaction); !done) return done;
  }
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    const auto directory = queues_.size() == 1 ? path_ : fmt::format("{}/queue-{}", path_, i);
    if (auto done = write_ring_keys(directory, *queues_[i], transaction); !done) return done;
  }
  return {};
}

Expected<void> SimulatedFrontend::write_ring_keys(const std::string& directory,
                                                  FrontendQueue& queue, Transaction transaction) {
  const auto& refs = queue.ring().refs();
  const bool numbered = refs.size() > 1 || options_.keys != RingKeys::ring_ref;
  for (std::size_t i = 0; i < refs.size(); ++i) {
    const auto name = numbered ? fmt::format("ring-ref{}", i) : std::string("ring-ref");
    const auto value = fmt::to_string(refs[i].n);
    if (auto done = store_->write(directory + "/" + name, value, transaction); !done) return done;
  }
  const auto port = fmt::to_string(queue.port().port().n);
  return store_->write(directory + "/event-channel", port, transaction);
}

Expected<void> SimulatedFrontend::finish_connect() {
  if (auto connected = wait_for_backend(kConnected); !connected) return connected;
  if (auto read = reread_properties(); !read) return read;
  const bool persistent = options_.grants == Grants::persistent && properties_.persistent;
  const std::uint32_t segments =
      properties_.indirect_segments_max > blkif::kMaxSegments
          ? std::min(options_.queue.segments_max, properties_.indirect_segments_max)
          : std::min(options_.queue.segments_max, blkif::kMaxSegments);
  for (const auto& queue : queues_) {
    queue->use(persistent ? Grants::persistent : Grants::per_request, segments);
  }
  return switch_state(kConnected);
}

Expected<void> SimulatedFrontend::reread_properties() {
  // Linux gathers these three together: without one of them there is no disk.
  const auto sectors = backend_number("sectors"), info = backend_number("info"),
             sector_bytes = backend_number("sector-size");
  for (const auto* const number : {&sectors, &info, &sector_bytes}) {
    if (!*number) return std::unexpected(number->error());
  }
  properties_ = {.sectors = {*sectors},
                 .sector_bytes = static_cast<std::uint32_t>(*sector_bytes),
                 .info = static_cast<std::uint32_t>(*info),
                 .flush = backend_number_or("feature-flush-cache", 0) != 0,
                 .barrier = backend_number_or("feature-barrier", 0) != 0,
                 .discard = backend_number_or("feature-discard", 0) != 0,
                 .persistent = backend_number_or("feature-persistent", 0) != 0,
                 .indirect_segments_max = static_cast<std::uint32_t>(
                     backend_number_or("feature-max-indirect-segments", 0))};
  return {};
}

Expected<void> SimulatedFrontend::close() {
  if (auto closing = switch_state(kClosing); !closing) return closing;
  // A backend that the toolstack asked to close may be Closed already.
  const auto follows = [](const NodeValue& state) {
    return !state || state == kClosing || state == kClosed;
  };
  if (!wait_for_node(*store_, backend_path_ + "/state", follows, options_.patience)) {
    return fail(Errc::closed, backend_path_ + " does not go Closing");
  }
  if (auto closed = switch_state(kClosed); !closed) return closed;
  const auto ended = [](const NodeValue& state) { return !state || state == kClosed; };
  if (!wait_for_node(*store_, backend_path_ + "/state", ended, options_.patience)) {
    return fail(Errc::closed, backend_path_ + " does not go Closed");
  }
  queues_.clear();
  return {};
}

Expected<void> SimulatedFrontend::reinitialise() {
  return switch_state(kInitialising);
}

Expected<void> SimulatedFrontend::switch_state(std::string_view state) {
  return store_->write(path_ + "/state", state);
}

Expected<void> SimulatedFrontend::wait_for_backend(std::string_view state) {
  NodeValue seen;
  const auto settled = [&](const NodeValue& value) {
    seen = value;
    return value == state || (state == kConnected && (value == kClosing || value == kClosed));
  };
  const bool in_time = wait_for_node(*store_, backend_path_ + "/state", settled, options_.patience);
  if (in_time && seen == state) return {};
  return fail(Errc::closed, fmt::format("{}/state is {} instead of {}", backend_path_,
                                        seen.value_or("missing"), state));
}

Expected<std::uint64_t> SimulatedFrontend::backend_number(std::string_view name) {
  const auto path = fmt::format("{}/{}", backend_path_, name);
  const auto text = store_->read(path);
  if (!text) return fail(Errc::bad_node, path + " is missing");
  std::uint64_t number = 0;
  const auto* const end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || text->empty()) {
    return fail(Errc::bad_node, path + " is no number");
  }
  return number;
}

std::uint64_t SimulatedFrontend::backend_number_or(std::string_view name, std::uint64_t missing) {
  return backend_number(name).value_or(missing);
}

}  // namespace xenblk::loopback
