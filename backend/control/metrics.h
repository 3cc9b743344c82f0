// All counters as OpenMetrics text, for Prometheus and whatever else reads it. Pure.
#pragma once

#include <string>
#include <vector>

#include "backend/control/status_json.h"

namespace xenblk::control {

// One family after the other, each with its disks; ends with "# EOF" as OpenMetrics wants it.
std::string metrics_text(const std::vector<NamedDisk>& disks);

}  // namespace xenblk::control
