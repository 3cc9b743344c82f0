// The daemon's answers as text for people. Pure.
#pragma once

#include <string>

#include "tools/ctl/client.h"

namespace xenblk::ctl {

std::string show_list(const Json& result);
std::string show_info(const Json& result);
std::string show_explain(const Json& result);
// What the disks did since they were connected.
std::string show_stats(const Json& result);
// What they did between two answers that are `seconds` apart.
std::string show_rates(const Json& before, const Json& after, double seconds);
std::string show_limits(const Json& result);
// How far a merge is, in one line.
std::string show_merge(const Json& merge);
std::string show_check(const Json& result);
std::string show_export(const Json& result);

}  // namespace xenblk::ctl
