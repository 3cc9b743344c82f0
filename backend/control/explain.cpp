#include "backend/control/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include "backend/control/status_json.h"
#include "backend/negotiation/values.h"

namespace xenblk::control {

using backend::DeviceStatus;
using ringio::Trouble;

namespace {

using Lines = std::vector<std::string>;

// blkif.h: a request without indirect segments carries at most 11 pages; a native request takes
// 112 bytes of a ring whose header takes 64, and the count of entries is a power of two.
constexpr std::uint32_t kEntriesPerPage = 32;

std::uint64_t sum(const DeviceStatus& status,
                  const ringio::Counter ringio::QueueCounters::* which) {
  std::uint64_t total = 0;
  for (const auto& counters : status.counters) total += ((*counters).*which).get();
  return total;
}

std::uint64_t troubles(const DeviceStatus& status, Trouble trouble) {
  std::uint64_t total = 0;
  for (const auto& counters : status.counters) total += (*counters)[trouble].get();
  return total;
}

void explain_image(const DeviceStatus& status, Lines& lines) {
  if (!status.failure.empty()) {
    lines.push_back(fmt::format("failed: {}", status.failure));
    // A disk that is taken over from an earlier daemon waits for its image.
    lines.push_back(status.own.image == negotiation::ImagePhase::opening
                        ? "-> put that right: it is tried again each second"
                        : "-> put that right, then detach and attach the disk again");
  }
  if (!status.image) return;
  lines.push_back(
      fmt::format("image: {}, {} bytes, {}, sectors of {} bytes", status.image->format,
                  status.capacity.n * kSectorBytes,
                  status.request.access == Access::read_only ? "read-only" : "read-write",
                  status.image->physical_sector_bytes));
  if (!status.image->discard) {
    lines.push_back("discard: the image cannot give space back");
  } else if (!status.request.discard) {
    lines.push_back("discard: forbidden by the toolstack");
    lines.push_back("-> discard=on in the guest's configuration of this disk");
  }
}

void explain_rings(const DeviceStatus& status, Lines& lines) {
  const auto pages = 1U << status.session->ring_order;
  const auto queues = status.counters.size();
  lines.push_back(fmt::format("rings: {} queue(s) of {} page(s): at most {} requests at once",
                              queues, pages, queues * pages * kEntriesPerPage));
  if (!status.offer) return;
  const auto offered_pages = 1U << status.offer->max_ring_order;
  if (pages < offered_pages) {
    lines.push_back(
        fmt::format("the guest took {} of the {} ring pages offered", pages, offered_pages));
    lines.push_back(
        "-> a Linux guest takes more with xen_blkfront.max_ring_page_order=4 on its "
        "kernel's command line");
  }
  if (queues < status.offer->max_queues) {
    lines.push_back(fmt::format("the guest took {} of the {} queues offered", queues,
                                status.offer->max_queues));
    lines.push_back(
        "-> a Linux guest takes one for each virtual CPU, up to "
        "xen_blkfront.max_queues (4)");
  }
}

void explain_requests(const DeviceStatus& status, Lines& lines) {
  if (!status.offer) return;
  const auto segments = status.offer->max_indirect_segments;
  if (segments == 0) {
    lines.push_back("requests: at most 44 KiB, as no indirect segments are offered");
    lines.push_back("-> max-indirect-segments in xenblkd.toml, for disks that connect later");
  } else {
    lines.push_back(
        fmt::format("requests: up to {} KiB are offered", segments * (kPageBytes / 1024)));
    lines.push_back(
        "-> a Linux guest sends up to 128 KiB, and more with "
        "xen_blkfront.max_indirect_segments");
  }
  lines.push_back(status.session->persistent_grants
                      ? "data: pages of the guest stay mapped (persistent grants)"
                      : "data: copied by the hypervisor");
}

bool limited(const ringio::RateLimits& limits) {
  return limits.operations_per_second != 0 || limits.bytes_per_second != 0;
}

std::string rates(const ringio::RateLimits& limits) {
  return fmt::format("{} requests a second, {} bytes a second (0: none)",
                     limits.operations_per_second, limits.bytes_per_second);
}

void explain_limits(const DeviceStatus& status, Lines& lines) {
  if (limited(status.limits)) {
    lines.push_back(fmt::format("limits: {}; the guest had to wait for them {} times",
                                rates(status.limits),
                                sum(status, &ringio::QueueCounters::limited)));
    lines.push_back("-> xenblkctl limit changes them at once");
  }
  if (limited(status.guest_limits)) {
    lines.push_back(fmt::format(
        "limits of all disks of the guest together: {}; this one had to wait for them {} times",
        rates(status.guest_limits), sum(status, &ringio::QueueCounters::guest_limited)));
    lines.push_back(fmt::format("-> xenblkctl limit {} changes them at once", status.key.domain.n));
  }
  if (status.paused) {
    lines.push_back("paused: no requests are taken");
    lines.push_back("-> xenblkctl resume");
  }
}

void explain_storage(const DeviceStatus& status, Lines& lines) {
  if (status.storage_waits) {
    lines.push_back(fmt::format("storage: it has failed {} requests, which are tried again",
                                sum(status, &ringio::QueueCounters::kept)));
    lines.push_back("-> make space, or bring the storage back; xenblkctl resume tries at once");
  }
  if (status.storage_stopped) {
    lines.push_back("storage: it has failed, and all requests are refused since");
    lines.push_back("-> look at it, then xenblkctl resume");
  }
}

// Of each operation the time in all, and which part of it passed where.
void explain_latencies(const DeviceStatus& status, Lines& lines) {
  for (const auto& of : kLatencies) {
    if (of.phase != std::string_view("total")) continue;
    const auto total = summary_of(status, of);
    if (total.count() == 0) continue;
    auto line = fmt::format("{}: half within {:.3f} ms, 99 % within {:.3f} ms", of.operation,
                            static_cast<double>(total.share_within_ns(0.5)) * 1e-6,
                            static_cast<double>(total.share_within_ns(0.99)) * 1e-6);
    for (const auto& part : kLatencies) {
      if (part.operation != std::string_view(of.operation) || part.phase == of.phase) continue;
      const auto ns = static_cast<double>(summary_of(status, part).sum_ns());
      const auto all_ns = static_cast<double>(std::max<std::uint64_t>(total.sum_ns(), 1));
      line += fmt::format(", {} {:.0f} %", part.phase, 100 * ns / all_ns);
    }
    lines.push_back(std::move(line));
  }
}

void explain_troubles(const DeviceStatus& status, Lines& lines) {
  for (std::size_t kind = 0; kind < ringio::kTroubleKinds; ++kind) {
    const auto trouble = static_cast<Trouble>(kind);
    if (const auto count = troubles(status, trouble); count != 0) {
      lines.push_back(fmt::format("errors: {}: {} times", ringio::describe(trouble), count));
    }
  }
  if (troubles(status, Trouble::ring_overrun) != 0) {
    lines.push_back(
        "-> the guest broke its ring: detach and attach the disk, or restart the guest");
  }
  if (troubles(status, Trouble::image_failed) != 0) {
    lines.push_back("-> look at the host's storage, and at the kernel's log");
  }
  if (const auto waits = sum(status, &ringio::QueueCounters::throttled); waits != 0) {
    lines.push_back(fmt::format("a ring had to wait {} times, as too much in it was wrong", waits));
  }
}

}  // namespace

Lines explain(const DeviceStatus& status) {
  Lines lines{fmt::format("state: {}", state_word(status))};
  explain_image(status, lines);
  if (status.session) {
    explain_rings(status, lines);
    explain_requests(status, lines);
  } else {
    lines.push_back("no guest is connected");
  }
  explain_limits(status, lines);
  explain_storage(status, lines);
  explain_latencies(status, lines);
  explain_troubles(status, lines);
  return lines;
}

}  // namespace xenblk::control
