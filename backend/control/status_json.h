// What the control socket says about disks. Pure; docs/control.md names the keys.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "backend/control/latency_summary.h"
#include "backend/device_status.h"
#include "vhd/operations/check.h"

namespace xenblk::control {

// Keys in the order in which they are documented.
using Json = nlohmann::ordered_json;

// A disk and the name of its guest, which is empty where XenStore has none.
struct NamedDisk {
  backend::DeviceStatus status;
  std::string guest;
};

// One of the histograms of a queue, and what it is called.
struct LatencyOf {
  const char* operation;
  const char* phase;
  const ringio::LatencyHistogram& (*find)(const ringio::Latencies&);
};
namespace latency {
template <auto kMember, ringio::Phase kPhase>
const ringio::LatencyHistogram& at(const ringio::Latencies& all) {
  return (all.*kMember)[static_cast<std::size_t>(kPhase)];
}
template <auto kMember>
const ringio::LatencyHistogram& only(const ringio::Latencies& all) {
  return all.*kMember;
}
}  // namespace latency
inline constexpr std::array kLatencies{
    LatencyOf{"read", "image", latency::at<&ringio::Latencies::read, ringio::Phase::image>},
    LatencyOf{"read", "data-out", latency::at<&ringio::Latencies::read, ringio::Phase::data_out>},
    LatencyOf{"read", "total", latency::at<&ringio::Latencies::read, ringio::Phase::total>},
    LatencyOf{"write", "data-in", latency::at<&ringio::Latencies::write, ringio::Phase::data_in>},
    LatencyOf{"write", "image", latency::at<&ringio::Latencies::write, ringio::Phase::image>},
    LatencyOf{"write", "total", latency::at<&ringio::Latencies::write, ringio::Phase::total>},
    LatencyOf{"flush", "total", latency::only<&ringio::Latencies::flush>},
    LatencyOf{"discard", "total", latency::only<&ringio::Latencies::discard>},
};
// Of all queues of the disk together.
LatencySummary summary_of(const backend::DeviceStatus& status, const LatencyOf& of);

// One word: connected, paused, waiting (for the guest), opening, closing, closed, failed.
std::string state_word(const backend::DeviceStatus& status);
std::string disk_number(const negotiation::DeviceKey& key);  // "7/51712"

Json list_entry(const NamedDisk& disk);
Json disk_info(const NamedDisk& disk);
Json disk_stats(const NamedDisk& disk);
Json check_json(const vhd::CheckReport& report);
Json export_json(const backend::DeviceStatus& status);  // null: it is not exported
Json limits_json(const ringio::RateLimits& limits);

}  // namespace xenblk::control
