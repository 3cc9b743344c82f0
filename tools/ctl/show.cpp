#include "tools/ctl/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "tools/ctl/table.h"
#include "tools/img/sizes.h"

namespace xenblk::ctl {
namespace {

// The answers are those of a daemon that may be of another version: what is missing is shown as
// such.
std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return "-";
  if (found->is_string()) return *found == "" ? "-" : found->get<std::string>();
  return found->dump();
}

std::uint64_t number_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string size_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return "-";
  return img::short_size(found->get<std::uint64_t>());
}

const Json& disks_of(const Json& result) {
  static const Json none = Json::array();
  const auto found = result.find("disks");
  return found != result.end() && found->is_array() ? *found : none;
}

std::string name_of(const Json& disk) {
  return text_of(disk, "guest") + ":" + text_of(disk, "vdev");
}

std::string milliseconds(std::uint64_t ns, std::uint64_t requests) {
  if (requests == 0) return "-";
  return fmt::format("{:.3f}", static_cast<double>(ns) / static_cast<double>(requests) * 1e-6);
}

std::uint64_t errors_of(const Json& stats) {
  std::uint64_t sum = 0;
  if (const auto errors = stats.find("errors"); errors != stats.end() && errors->is_object()) {
    for (const auto& [kind, count] : errors->items()) {
      if (count.is_number_unsigned()) sum += count.get<std::uint64_t>();
    }
  }
  return sum;
}

void add_pairs(std::string& text, const std::string& before, const Json& json) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      add_pairs(text, before + key + " ", value);
    } else {
      text += fmt::format("{:<32}{}\n", before + key, printable(text_of(json, key.c_str())));
    }
  }
}

Json total_of(const Json& disk) {
  const auto found = disk.find("total");
  return found != disk.end() && found->is_object() ? *found : Json::object();
}

// Nothing where there are none.
std::string rates_of(const Json& disk, const char* key) {
  const auto limits = disk.find(key);
  if (limits == disk.end() || !limits->is_object()) return {};
  const auto iops = number_of(*limits, "iops");
  const auto bandwidth = number_of(*limits, "bandwidth");
  std::string text = iops == 0 ? "" : fmt::format("{}/s", iops);
  if (bandwidth != 0) text += (text.empty() ? "" : ", ") + img::short_size(bandwidth) + "/s";
  return text;
}

std::string limits_of(const Json& disk) {
  auto text = rates_of(disk, "limits");
  const auto of_guest = rates_of(disk, "guest-limits");
  if (!of_guest.empty()) text += (text.empty() ? "" : "; ") + ("guest " + of_guest);
  return text.empty() ? "-" : text;
}

}  // namespace

// What is limited is seen at once, and where nothing is there is no column for it.
std::string show_list(const Json& result) {
  const auto& disks = disks_of(result);
  const bool limited =
      std::ranges::any_of(disks, [](const Json& disk) { return limits_of(disk) != "-"; });
  std::vector<Column> columns{{"DISK"},   {"NAME"}, {"STATE"}, {"SIZE", Align::right},
                              {"ACCESS"}, {"IMAGE"}};
  if (limited) columns.insert(columns.end() - 1, {"LIMITS"});
  Table table(std::move(columns));
  for (const auto& disk : disks) {
    std::vector<std::string> cells{text_of(disk, "disk"),   name_of(disk),
                                   text_of(disk, "state"),  size_of(disk, "bytes"),
                                   text_of(disk, "access"), text_of(disk, "image")};
    if (limited) cells.insert(cells.end() - 1, limits_of(disk));
    table.add(std::move(cells));
  }
  return table.text();
}

std::string show_info(const Json& result) {
  std::string text;
  add_pairs(text, "", result);
  return text;
}

std::string show_explain(const Json& result) {
  std::string text;
  const auto lines = result.find("lines");
  if (lines == result.end() || !lines->is_array()) return text;
  for (const auto& line : *lines) {
    if (line.is_string()) text += printable(line.get<std::string>()) + "\n";
  }
  return text;
}

std::string show_stats(const Json& result) {
  constexpr auto right = Align::right;
  Table table({{"DISK"},
               {"NAME"},
               {"STATE"},
               {"READS", right},
               {"READ", right},
               {"WRITES", right},
               {"WRITTEN", right},
               {"FLUSHES", right},
               {"READ ms", right},
               {"WRITE ms", right},
               {"IN FLIGHT", right},
               {"ERRORS", right}});
  for (const auto& disk : disks_of(result)) {
    const auto total = total_of(disk);
    const auto reads = number_of(total, "reads");
    const auto writes = number_of(total, "writes");
    table.add({text_of(disk, "disk"), name_of(disk), text_of(disk, "state"), std::to_string(reads),
               size_of(total, "bytes-read"), std::to_string(writes),
               size_of(total, "bytes-written"), text_of(total, "flushes"),
               milliseconds(number_of(total, "read-ns"), reads),
               milliseconds(number_of(total, "write-ns"), writes), text_of(total, "in-flight"),
               std::to_string(errors_of(total))});
  }
  return table.text();
}

std::string show_rates(const Json& before, const Json& after, double seconds) {
  constexpr auto right = Align::right;
  Table table({{"DISK"},
               {"NAME"},
               {"STATE"},
               {"READS/s", right},
               {"READ/s", right},
               {"WRITES/s", right},
               {"WRITTEN/s", right},
               {"READ ms", right},
               {"WRITE ms", right},
               {"IN FLIGHT", right},
               {"ERRORS", right}});
  std::map<std::string, Json> earlier;
  for (const auto& disk : disks_of(before)) earlier[text_of(disk, "disk")] = total_of(disk);
  for (const auto& disk : disks_of(after)) {
    const auto total = total_of(disk);
    const auto& then = earlier[text_of(disk, "disk")];
    // A disk that was connected anew in between counts from its beginning.
    const auto grown = [&](const char* key) {
      const auto now = number_of(total, key);
      const auto was = then.is_object() ? number_of(then, key) : 0;
      return now >= was ? now - was : now;
    };
    const auto rate = [&](const char* key) { return static_cast<double>(grown(key)) / seconds; };
    const auto size_rate = [&](const char* key) {
      return img::short_size(static_cast<std::uint64_t>(rate(key)));
    };
    table.add({text_of(disk, "disk"), name_of(disk), text_of(disk, "state"),
               fmt::format("{:.0f}", rate("reads")), size_rate("bytes-read"),
               fmt::format("{:.0f}", rate("writes")), size_rate("bytes-written"),
               milliseconds(grown("read-ns"), grown("reads")),
               milliseconds(grown("write-ns"), grown("writes")), text_of(total, "in-flight"),
               std::to_string(errors_of(total))});
  }
  return table.text();
}

std::string show_limits(const Json& result) {
  const auto iops = number_of(result, "iops");
  const auto bandwidth = number_of(result, "bandwidth");
  if (iops == 0 && bandwidth == 0) return "no limits\n";
  return fmt::format("{}, {}, saved up for at most {} ms\n",
                     iops == 0 ? "any number of requests" : fmt::format("{} requests/s", iops),
                     bandwidth == 0 ? "any bandwidth" : img::short_size(bandwidth) + "/s",
                     number_of(result, "burst-ms"));
}

std::string show_merge(const Json& merge) {
  const auto bytes = number_of(merge, "bytes");
  const auto done = number_of(merge, "bytes-done");
  return fmt::format("{:3} %, {} copied ", bytes == 0 ? 0 : done * 100 / bytes,
                     size_of(merge, "bytes-copied"));
}

std::string show_check(const Json& result) {
  std::string text;
  const auto findings = result.find("findings");
  if (findings != result.end() && findings->is_array()) {
    for (const auto& one : *findings) {
      text += fmt::format("{}: {} [{}]\n", printable(text_of(one, "severity")),
                          printable(text_of(one, "text")), printable(text_of(one, "code")));
    }
  }
  return text + printable(text_of(result, "status")) + "\n";
}

// What QEMU and nbdinfo take.
std::string show_export(const Json& result) {
  const auto socket = result.is_object() ? text_of(result, "socket") : "";
  return socket.empty() ? "" : fmt::format("nbd+unix:///?socket={}\n", printable(socket));
}

}  // namespace xenblk::ctl
