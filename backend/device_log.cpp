// What is told about a disk, so that no guest fills the log.
#include <fmt/format.h>
#include <spdlog/logger.h>

#include "backend/device.h"

namespace xenblk::backend {

void Device::report(Severity severity, std::string_view text) {
  if (!log_budget_.take(services_.loop.now())) return;
  if (const auto refused = log_budget_.take_refused(); refused > 0) {
    services_.log.warn("{}: {} more lines were left out here", name_, refused);
  }
  write_line(severity, text);
}

void Device::write_line(Severity severity, std::string_view text) {
  switch (severity) {
    case Severity::info:
      return services_.log.info("{}: {}", name_, text);
    case Severity::warning:
      return services_.log.warn("{}: {}", name_, text);
    case Severity::error:
      return services_.log.error("{}: {}", name_, text);
  }
}

void Device::report_trouble(std::size_t queue, const ringio::QueueNotice& notice) {
  const auto text = fmt::format("queue {}: {} ({}); further ones are only counted", queue,
                                ringio::describe(notice.trouble), notice.detail);
  auto named = troubles_named_[static_cast<std::size_t>(notice.trouble)];
  if (named) return report(Severity::warning, text);
  named = true;
  write_line(Severity::warning, text);
}

}  // namespace xenblk::backend
