// The subcommands. Each adds itself, with its options and an example, to the command line, and sets
// `run` when it is the one that was named. What `run` needs lives as long as the command line.
#pragma once

#include <functional>

#include "tools/img/exit_status.h"

namespace CLI {
class App;
}

namespace xenblk::img {

using Run = std::function<Outcome()>;

void add_create(CLI::App& program, Run& run);
void add_info(CLI::App& program, Run& run);
void add_map(CLI::App& program, Run& run);
void add_convert(CLI::App& program, Run& run);
void add_compare(CLI::App& program, Run& run);
void add_check(CLI::App& program, Run& run);
void add_repair(CLI::App& program, Run& run);
void add_snapshot(CLI::App& program, Run& run);
void add_coalesce(CLI::App& program, Run& run);
void add_resize(CLI::App& program, Run& run);
void add_export(CLI::App& program, Run& run);

}  // namespace xenblk::img
