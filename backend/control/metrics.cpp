#include "backend/control/metrics.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace xenblk::control {

using ringio::QueueCounters;

namespace {

// A label's value: backslash, quote and end of line are escaped (OpenMetrics, "Label").
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\' || c == '"') result += '\\';
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result;
}

std::string labels(const NamedDisk& disk) {
  return fmt::format("disk=\"{}\",guest=\"{}\",vdev=\"{}\"", disk_number(disk.status.key),
                     escaped(disk.guest), escaped(disk.status.request.virtual_device));
}

struct Value {
  const char* label;  // a further one, with its value, or nothing
  const ringio::Counter QueueCounters::* counter;
  double scale = 1;
};

struct Family {
  const char* name;
  const char* type;
  const char* help;
  std::vector<Value> values;
};

const std::vector<Family>& families() {
  using Q = QueueCounters;
  static const std::vector<Family> all{
      {"xenblk_requests",
       "counter",
       "Requests that were answered okay.",
       {{"operation=\"read\"", &Q::reads},
        {"operation=\"write\"", &Q::writes},
        {"operation=\"flush\"", &Q::flushes},
        {"operation=\"barrier\"", &Q::barriers},
        {"operation=\"discard\"", &Q::discards}}},
      {"xenblk_bytes",
       "counter",
       "Bytes of the requests that were answered okay.",
       {{"operation=\"read\"", &Q::sectors_read, kSectorBytes},
        {"operation=\"write\"", &Q::sectors_written, kSectorBytes},
        {"operation=\"discard\"", &Q::sectors_discarded, kSectorBytes}}},
      {"xenblk_requests_in_flight",
       "gauge",
       "Requests taken and not yet answered.",
       {{"", &Q::in_flight}}},
      {"xenblk_requests_kept",
       "gauge",
       "Requests that wait for the storage, which has failed them.",
       {{"", &Q::kept}}},
      {"xenblk_retries",
       "counter",
       "Tries of requests that the storage had failed.",
       {{"", &Q::retries}}},
      {"xenblk_events",
       "counter",
       "Events between the guest and the backend.",
       {{"direction=\"received\"", &Q::events}, {"direction=\"sent\"", &Q::notifications}}},
      {"xenblk_waits",
       "counter",
       "Times that a ring had to wait, by reason.",
       {{"reason=\"limits\"", &Q::limited},
        {"reason=\"guest-limits\"", &Q::guest_limited},
        {"reason=\"errors\"", &Q::throttled}}},
      {"xenblk_rings_stopped",
       "gauge",
       "Rings that were stopped because the guest broke them.",
       {{"", &Q::ring_stopped}}},
  };
  return all;
}

class Text {
 public:
  void begin(const Family& family) {
    fmt::format_to(out(), "# TYPE {0} {1}\n# HELP {0} {2}\n", family.name, family.type,
                   family.help);
    suffix_ = std::string_view(family.type) == "counter" ? "_total" : "";
  }
  void sample(std::string_view name, std::string_view labels, std::string_view label,
              double value) {
    fmt::format_to(out(), "{}{}{{{}{}{}}} {}\n", name, suffix_, labels, label.empty() ? "" : ",",
                   label, value);
  }
  // One line of a histogram, which has endings of its own.
  void part(std::string_view name, std::string_view labels, std::string_view label, double value) {
    suffix_ = "";
    sample(name, labels, label, value);
  }
  std::string end() { return text_ += "# EOF\n"; }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }
  std::string text_;
  std::string_view suffix_;
};

double sum(const NamedDisk& disk, const Value& value) {
  std::uint64_t total = 0;
  for (const auto& counters : disk.status.counters) total += ((*counters).*value.counter).get();
  return static_cast<double>(total) * value.scale;
}

void add_errors(Text& text, const std::vector<NamedDisk>& disks) {
  const Family family{"xenblk_errors", "counter", "What went wrong, by kind.", {}};
  text.begin(family);
  for (const auto& disk : disks) {
    for (std::size_t kind = 0; kind < ringio::kTroubleKinds; ++kind) {
      std::uint64_t count = 0;
      for (const auto& counters : disk.status.counters) count += counters->troubles[kind].get();
      const auto label =
          fmt::format("kind=\"{}\"", escaped(ringio::describe(static_cast<ringio::Trouble>(kind))));
      if (count != 0) text.sample(family.name, labels(disk), label, static_cast<double>(count));
    }
  }
}

// Bounds a reader can make sense of, a few for each disk: 64 us and so on by fours, up to 17 s.
void add_histograms(Text& text, const std::vector<NamedDisk>& disks) {
  constexpr unsigned kFirst = 16, kStep = 2, kLast = 34;
  const Family family{
      "xenblk_request_seconds", "histogram", "Time from taking a request to answering it.", {}};
  text.begin(family);
  for (const auto& disk : disks) {
    for (const auto& of : kLatencies) {
      if (of.phase != std::string_view("total")) continue;
      const auto total = summary_of(disk.status, of);
      if (total.count() == 0) continue;
      const auto operation = fmt::format("operation=\"{}\"", of.operation);
      for (unsigned power = kFirst; power <= kLast; power += kStep) {
        const auto bound_ns = std::uint64_t{1} << power;
        text.part("xenblk_request_seconds_bucket", labels(disk),
                  fmt::format("{},le=\"{}\"", operation, static_cast<double>(bound_ns) * 1e-9),
                  static_cast<double>(total.count_below(bound_ns)));
      }
      const auto count = static_cast<double>(total.count());
      text.part("xenblk_request_seconds_bucket", labels(disk), operation + ",le=\"+Inf\"", count);
      text.part("xenblk_request_seconds_count", labels(disk), operation, count);
      text.part("xenblk_request_seconds_sum", labels(disk), operation,
                static_cast<double>(total.sum_ns()) * 1e-9);
    }
  }
}

void add_phases(Text& text, const std::vector<NamedDisk>& disks) {
  const Family family{
      "xenblk_phase_seconds", "counter", "Time that requests spent in each phase, summed.", {}};
  text.begin(family);
  for (const auto& disk : disks) {
    for (const auto& of : kLatencies) {
      if (of.phase == std::string_view("total")) continue;
      text.sample(family.name, labels(disk),
                  fmt::format("operation=\"{}\",phase=\"{}\"", of.operation, of.phase),
                  static_cast<double>(summary_of(disk.status, of).sum_ns()) * 1e-9);
    }
  }
}

void add_states(Text& text, const std::vector<NamedDisk>& disks) {
  const Family connected{"xenblk_disk_connected", "gauge", "Whether a guest is connected.", {}};
  text.begin(connected);
  for (const auto& disk : disks) {
    text.sample(connected.name, labels(disk), "", disk.status.session ? 1 : 0);
  }
  const Family storage{"xenblk_disk_storage_failed",
                       "gauge",
                       "Whether the guest waits for the storage, or its requests are refused.",
                       {}};
  text.begin(storage);
  for (const auto& disk : disks) {
    text.sample(storage.name, labels(disk), "state=\"waits\"", disk.status.storage_waits ? 1 : 0);
    text.sample(storage.name, labels(disk), "state=\"stopped\"",
                disk.status.storage_stopped ? 1 : 0);
  }
  const Family looks{
      "xenblk_looks_put_off",
      "counter",
      "Times that the guest had changed its state in XenStore too often to be looked at.",
      {}};
  text.begin(looks);
  for (const auto& disk : disks) {
    text.sample(looks.name, labels(disk), "", static_cast<double>(disk.status.looks_put_off));
  }
  const Family size{"xenblk_disk_size_bytes", "gauge", "Size of the disk.", {}};
  text.begin(size);
  for (const auto& disk : disks) {
    const auto bytes = disk.status.capacity.n * kSectorBytes;
    text.sample(size.name, labels(disk), "", static_cast<double>(bytes));
  }
}

}  // namespace

std::string metrics_text(const std::vector<NamedDisk>& disks) {
  Text text;
  add_states(text, disks);
  for (const auto& family : families()) {
    text.begin(family);
    for (const auto& disk : disks) {
      for (const auto& value : family.values) {
        text.sample(family.name, labels(disk), value.label, sum(disk, value));
      }
    }
  }
  add_histograms(text, disks);
  add_phases(text, disks);
  add_errors(text, disks);
  return text.end();
}

}  // namespace xenblk::control
