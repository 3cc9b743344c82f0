// Writes the statistics files that other programs read, again and again.
#pragma once

#include <optional>
#include <string>

#include "backend/control/service.h"
#include "backend/control/xapi_statistics.h"
#include "backend/event_loop.h"
#include "backend/work_queue.h"

namespace spdlog {
class logger;
}

namespace xenblk::control {

struct PublisherOptions {
  std::string metrics_file;  // empty: none
  bool xapi = false;
  std::string xapi_directory = "/dev/shm";
};

// Pinned; used by the loop's thread. The loop must not run any more when it is destroyed.
class Publisher {
 public:
  // `loop`, `service` and `log` are borrowed.
  Publisher(backend::EventLoop& loop, Service& service, PublisherOptions options,
            spdlog::logger& log);
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

 private:
  void write_metrics();
  void write_xapi();
  // The first failure in a row is worth a line.
  void report(const Expected<void>& outcome, bool& failing);

  backend::EventLoop& loop_;
  Service& service_;
  const PublisherOptions options_;
  spdlog::logger& log_;
  std::optional<XapiFiles> xapi_;
  bool writing_ = false;
  bool metrics_failing_ = false;
  bool xapi_failing_ = false;
  std::optional<backend::WorkQueue> work_;  // last: its thread uses the others
};

}  // namespace xenblk::control
