#include "backend/control/status_json.h"

#include <fmt/format.h>

#include <tuple>

#include "backend/control/latency_summary.h"
#include "backend/negotiation/layout_name.h"

namespace xenblk::control {

using backend::DeviceStatus;
using negotiation::ImagePhase;
using negotiation::RingPhase;
using negotiation::XenbusState;
using ringio::QueueCounters;

namespace {

const char* access_word(Access access) {
  return access == Access::read_only ? "read-only" : "read-write";
}

Json negotiated(const DeviceStatus& status) {
  if (!status.session) return nullptr;
  return {{"layout", negotiation::name(status.session->layout)},
          {"queues", status.counters.size()},
          {"ring-pages", 1U << status.session->ring_order},
          {"persistent-grants", status.session->persistent_grants}};
}

Json offered(const DeviceStatus& status) {
  if (!status.offer) return nullptr;
  const auto& offer = *status.offer;
  return {{"queues", offer.max_queues},
          {"ring-pages", 1U << offer.max_ring_order},
          {"indirect-segments", offer.max_indirect_segments},
          {"persistent-grants", offer.persistent_grants},
          {"logical-sector-bytes", offer.logical_sector_bytes}};
}

const char* merge_word(backend::MergeStatus::State state) {
  switch (state) {
    case backend::MergeStatus::State::running:
      return "running";
    case backend::MergeStatus::State::done:
      return "done";
    case backend::MergeStatus::State::failed:
      return "failed";
  }
  return "?";
}

// The last one, or the one that is under way.
Json merge_json(const std::optional<backend::MergeStatus>& merge) {
  if (!merge) return nullptr;
  return {{"state", merge_word(merge->state)},
          {"into", merge->into},
          {"bytes-done", merge->progress->sectors_done.load() * kSectorBytes},
          {"bytes-copied", merge->progress->sectors_copied.load() * kSectorBytes},
          {"bytes", merge->progress->capacity.n * kSectorBytes},
          {"failure", merge->failure}};
}

void add_image(Json& json, const DeviceStatus& status) {
  json["image"] = status.request.params;
  json["format"] = status.image ? Json(status.image->format) : Json(nullptr);
  json["bytes"] = status.image ? Json(status.capacity.n * kSectorBytes) : Json(nullptr);
  json["access"] = access_word(status.request.access);
}

Json errors_json(const QueueCounters& queue) {
  Json json = Json::object();
  for (std::size_t kind = 0; kind < ringio::kTroubleKinds; ++kind) {
    const auto count = queue.troubles[kind].get();
    if (count == 0) continue;
    json[std::string(ringio::describe(static_cast<ringio::Trouble>(kind)))] = count;
  }
  return json;
}

Json queue_stats(const QueueCounters& queue) {
  return {{"reads", queue.reads.get()},
          {"writes", queue.writes.get()},
          {"flushes", queue.flushes.get()},
          {"barriers", queue.barriers.get()},
          {"discards", queue.discards.get()},
          {"bytes-read", queue.sectors_read.get() * kSectorBytes},
          {"bytes-written", queue.sectors_written.get() * kSectorBytes},
          {"bytes-discarded", queue.sectors_discarded.get() * kSectorBytes},
          {"read-ns", queue.read_ns.get()},
          {"write-ns", queue.write_ns.get()},
          {"in-flight", queue.in_flight.get()},
          {"kept", queue.kept.get()},
          {"retries", queue.retries.get()},
          {"events", queue.events.get()},
          {"notifications", queue.notifications.get()},
          {"limited", queue.limited.get()},
          {"guest-limited", queue.guest_limited.get()},
          {"throttled", queue.throttled.get()},
          {"stopped", queue.ring_stopped.get()},
          {"errors", errors_json(queue)}};
}

// Adds numbers; what is an object (the errors) is added key by key.
void add_up(Json& total, const Json& one) {
  for (const auto& [key, value] : one.items()) {
    auto& sum = total[key];
    if (value.is_object()) {
      if (sum.is_null()) sum = Json::object();
      add_up(sum, value);
    } else {
      sum = (sum.is_null() ? 0 : sum.get<std::uint64_t>()) + value.get<std::uint64_t>();
    }
  }
}

Json latency_json(const DeviceStatus& status, const LatencyOf& of) {
  const auto summary = summary_of(status, of);
  return {{"count", summary.count()},
          {"sum-ns", summary.sum_ns()},
          {"half-within-ns", summary.share_within_ns(0.5)},
          {"99-percent-within-ns", summary.share_within_ns(0.99)}};
}

Json latencies_json(const DeviceStatus& status) {
  Json json = Json::object();
  for (const auto& of : kLatencies) {
    json[of.operation][of.phase] = latency_json(status, of);
  }
  return json;
}

void add_limits(Json& json, const DeviceStatus& status) {
  json["limits"] = limits_json(status.limits);
  json["guest-limits"] = limits_json(status.guest_limits);
}

Json names(const NamedDisk& disk) {
  return {{"disk", disk_number(disk.status.key)},
          {"kind", disk.status.key.kind},
          {"guest", disk.guest},
          {"vdev", disk.status.request.virtual_device}};
}

}  // namespace

LatencySummary summary_of(const DeviceStatus& status, const LatencyOf& of) {
  LatencySummary summary;
  for (const auto& counters : status.counters) summary.add(of.find(counters->latencies));
  return summary;
}

std::string state_word(const DeviceStatus& status) {
  const auto& own = status.own;
  if (own.image == ImagePhase::failed || own.rings == RingPhase::failed) return "failed";
  if (own.state == XenbusState::closing) return "closing";
  if (own.state == XenbusState::closed) return "closed";
  if (own.rings == RingPhase::held) return "held";
  if (status.paused) return "paused";
  if (status.storage_stopped) return "storage-stopped";
  if (status.storage_waits) return "storage-waits";
  if (own.rings == RingPhase::connected) return "connected";
  return own.image == ImagePhase::opening ? "opening" : "waiting";
}

std::string disk_number(const negotiation::DeviceKey& key) {
  return fmt::format("{}/{}", key.domain.n, key.device.n);
}

Json check_json(const vhd::CheckReport& report) {
  Json findings = Json::array();
  for (const auto& one : report.findings) {
    findings.push_back(
        {{"severity", vhd::name_of(one.level)}, {"code", one.code}, {"text", one.text}});
  }
  return {{"status", report.status()}, {"findings", std::move(findings)}};
}

Json limits_json(const ringio::RateLimits& limits) {
  return {{"iops", limits.operations_per_second},
          {"bandwidth", limits.bytes_per_second},
          {"burst-ms", limits.burst_ns / 1'000'000}};
}

Json export_json(const DeviceStatus& status) {
  if (!status.exported) return nullptr;
  return {{"socket", status.exported->socket},
          {"access", access_word(status.exported->access)},
          {"clients", status.exported->clients},
          {"requests", status.exported->requests}};
}

Json list_entry(const NamedDisk& disk) {
  auto json = names(disk);
  json["state"] = state_word(disk.status);
  add_image(json, disk.status);
  // Of many disks few have any.
  const auto& [own, of_guest] = std::tie(disk.status.limits, disk.status.guest_limits);
  const bool limited = own.operations_per_second != 0 || own.bytes_per_second != 0 ||
                       of_guest.operations_per_second != 0 || of_guest.bytes_per_second != 0;
  if (limited) add_limits(json, disk.status);
  return json;
}

Json disk_info(const NamedDisk& disk) {
  const auto& status = disk.status;
  auto json = list_entry(disk);
  json["physical-sector-bytes"] =
      status.image ? Json(status.image->physical_sector_bytes) : Json(nullptr);
  json["discard"] = status.image && status.image->discard && status.request.discard;
  json["cdrom"] = status.request.cdrom;
  json["removable"] = status.request.removable;
  json["failure"] = status.failure;
  json["negotiated"] = negotiated(status);
  json["offered"] = offered(status);
  add_limits(json, status);
  json["export"] = export_json(status);
  json["coalesce"] = merge_json(status.merge);
  json["on-error"] = backend::name(status.policy.on_error);
  json["on-enospc"] = backend::name(status.policy.on_no_space);
  return json;
}

Json disk_stats(const NamedDisk& disk) {
  auto json = names(disk);
  json["state"] = state_word(disk.status);
  add_limits(json, disk.status);
  Json total = queue_stats(QueueCounters{});
  Json queues = Json::array();
  for (const auto& counters : disk.status.counters) {
    queues.push_back(queue_stats(*counters));
    add_up(total, queues.back());
  }
  json["total"] = std::move(total);
  json["latency"] = latencies_json(disk.status);
  json["queues"] = std::move(queues);
  return json;
}

}  // namespace xenblk::control
