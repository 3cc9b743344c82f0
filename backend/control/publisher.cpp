#include "backend/control/publisher.h"

#include <spdlog/logger.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "backend/control/metrics.h"
#include "backend/control/metrics_file.h"

namespace xenblk::control {

namespace {

// xcp-rrdd looks every 5 seconds, Prometheus about every 15.
constexpr std::chrono::seconds kXapiInterval{1};
constexpr std::chrono::seconds kMetricsInterval{10};

}  // namespace

Publisher::Publisher(backend::EventLoop& loop, Service& service, PublisherOptions options,
                     spdlog::logger& log)
    : loop_(loop), service_(service), options_(std::move(options)), log_(log) {
  if (!options_.metrics_file.empty()) {
    work_.emplace();
    loop_.every(kMetricsInterval, [this] { write_metrics(); });
  }
  if (options_.xapi) {
    xapi_.emplace(options_.xapi_directory, ::getpid());
    loop_.every(kXapiInterval, [this] { write_xapi(); });
  }
}

// The file may lie on storage that hangs; what is due meanwhile is left out.
void Publisher::write_metrics() {
  if (std::exchange(writing_, true)) return;
  work_->add([this, text = metrics_text(service_.all_disks())] {
    auto written = replace_file(options_.metrics_file, text);
    loop_.post([this, written = std::move(written)] {
      writing_ = false;
      report(written, metrics_failing_);
    });
  });
}

void Publisher::write_xapi() {
  report(xapi_->update(service_.all_disks()), xapi_failing_);
}

void Publisher::report(const Expected<void>& outcome, bool& failing) {
  const bool failed_before = std::exchange(failing, !outcome);
  if (!outcome && !failed_before) log_.error("statistics: {}", describe(outcome.error()));
}

}  // namespace xenblk::control
