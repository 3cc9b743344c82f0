#include "backend/negotiation/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "backend/negotiation/values.h"

namespace xenblk::negotiation {

namespace {

Expected<std::uint32_t> number_in(std::string_view node, std::string_view value) {
  const auto number = parse_u32(value);
  if (!number)
    return fail(Errc::bad_node, fmt::format("{} is {}, not a number", node, quoted(value)));
  return *number;
}

Expected<std::uint32_t> required_number(const FrontendNodes& nodes, const std::string& node) {
  const auto value = nodes(node);
  if (!value) return fail(Errc::bad_node, fmt::format("{} is missing", node));
  return number_in(node, *value);
}

// Without `protocol` the header says native, but every x86 backend has always taken x86_32
// (Linux xen-blkback, QEMU, tapback), and the 32-bit frontends that omit the node rely on it.
blkif::Layout default_layout() {
#if defined(__x86_64__) || defined(__i386__)
  return blkif::Layout::x86_32;
#else
  return blkif::Layout::native;
#endif
}

std::string_view native_protocol() {
#if defined(__x86_64__)
  return blkif::kProtocolX86_64;
#elif defined(__i386__)
  return blkif::kProtocolX86_32;
#else
  return blkif::kProtocolArm;
#endif
}

Expected<blkif::Layout> layout_of(const FrontendNodes& nodes) {
  const auto protocol = nodes("protocol");
  if (!protocol) return default_layout();
  if (*protocol == native_protocol()) return blkif::Layout::native;
  if (*protocol == blkif::kProtocolX86_32) return blkif::Layout::x86_32;
  if (*protocol == blkif::kProtocolX86_64) return blkif::Layout::x86_64;
  return fail(Errc::bad_node, fmt::format("protocol {} is unknown", quoted(*protocol)));
}

Expected<std::uint32_t> queue_count(const Offer& offer, const FrontendNodes& nodes) {
  const auto value = nodes("multi-queue-num-queues");
  if (!value) return 1;
  const auto count = number_in("multi-queue-num-queues", *value);
  if (!count) return count;
  if (*count == 0 || *count > offer.max_queues) {
    return fail(Errc::refused, fmt::format("multi-queue-num-queues is {}, 1 to {} are offered",
                                           *count, offer.max_queues));
  }
  return count;
}

// How the frontend numbers its ring pages. With ring-page-order it writes ring-ref0, ring-ref1,
// ...; some frontends write ring-page-order 0 and a plain ring-ref, so with order 0 either is
// taken. Without it only the plain ring-ref counts: a ring-ref0 may be left over from an earlier
// frontend.
struct RingScheme {
  std::uint32_t order = 0;
  bool numbered = false;
};

Expected<RingScheme> scheme_by_order(const Offer& offer, std::string_view value) {
  const auto order = number_in("ring-page-order", value);
  if (!order) return std::unexpected(order.error());
  if (*order > offer.max_ring_order) {
    return fail(Errc::refused, fmt::format("ring-page-order is {}, at most {} is offered", *order,
                                           offer.max_ring_order));
  }
  return RingScheme{*order, true};
}

Expected<RingScheme> scheme_by_pages(const Offer& offer, std::string_view value) {
  const auto pages = number_in("num-ring-pages", value);
  if (!pages) return std::unexpected(pages.error());
  if (!std::has_single_bit(*pages) || *pages > (1U << offer.max_ring_order)) {
    return fail(Errc::refused,
                fmt::format("num-ring-pages is {}, powers of two up to {} are offered", *pages,
                            1U << offer.max_ring_order));
  }
  return RingScheme{static_cast<std::uint32_t>(std::countr_zero(*pages)), true};
}

Expected<RingScheme> ring_scheme(const Offer& offer, const FrontendNodes& nodes) {
  if (const auto order = nodes("ring-page-order")) return scheme_by_order(offer, *order);
  if (const auto pages = nodes("num-ring-pages")) return scheme_by_pages(offer, *pages);
  return RingScheme{};
}

std::string ring_ref_node(const FrontendNodes& nodes, const std::string& prefix, RingScheme scheme,
                          std::uint32_t page) {
  const auto numbered = fmt::format("{}ring-ref{}", prefix, page);
  if (!scheme.numbered) return prefix + "ring-ref";
  if (scheme.order == 0 && !nodes(numbered)) return prefix + "ring-ref";
  return numbered;
}

Expected<QueueSession> queue_session(const FrontendNodes& nodes, const std::string& prefix,
                                     RingScheme scheme) {
  QueueSession queue;
  for (std::uint32_t page = 0; page < (1U << scheme.order); ++page) {
    const auto ref = required_number(nodes, ring_ref_node(nodes, prefix, scheme, page));
    if (!ref) return std::unexpected(ref.error());
    queue.ring_refs.push_back({*ref});
  }
  const auto port = required_number(nodes, prefix + "event-channel");
  if (!port) return std::unexpected(port.error());
  // Port 0 is never a valid event channel in Xen.
  if (*port == 0) return fail(Errc::bad_node, fmt::format("{}event-channel is 0", prefix));
  queue.port = {*port};
  return queue;
}

// One page that appears twice would make two rings, or two places of one ring, overwrite each
// other.
Expected<void> check_distinct(const std::vector<QueueSession>& queues) {
  std::vector<GrantRef> refs;
  for (const auto& queue : queues)
    refs.insert(refs.end(), queue.ring_refs.begin(), queue.ring_refs.end());
  std::ranges::sort(refs);
  const auto twice = std::ranges::adjacent_find(refs);
  if (twice == refs.end()) return {};
  return fail(Errc::bad_node, fmt::format("ring-ref {} is used for two ring pages", twice->n));
}

}  // namespace

Expected<Session> negotiate(const Offer& offer, const FrontendNodes& nodes) {
  const auto layout = layout_of(nodes);
  if (!layout) return std::unexpected(layout.error());
  const auto count = queue_count(offer, nodes);
  if (!count) return std::unexpected(count.error());
  const auto scheme = ring_scheme(offer, nodes);
  if (!scheme) return std::unexpected(scheme.error());

  Session session{*layout, scheme->order, {}};
  session.persistent_grants = offer.persistent_grants && nodes("feature-persistent") == "1";
  for (std::uint32_t index = 0; index < *count; ++index) {
    // With one queue its keys stand in the frontend's directory itself (blkif.h, "Multi-queue").
    const auto prefix = *count == 1 ? std::string{} : fmt::format("queue-{}/", index);
    auto queue = queue_session(nodes, prefix, *scheme);
    if (!queue) return std::unexpected(queue.error());
    session.queues.push_back(std::move(*queue));
  }
  if (const auto distinct = check_distinct(session.queues); !distinct) {
    return std::unexpected(distinct.error());
  }
  return session;
}

}  // namespace xenblk::negotiation
