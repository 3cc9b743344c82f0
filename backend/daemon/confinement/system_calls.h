// Which system calls the process can still make: a seccomp filter.
#pragma once

#include <vector>

#include "xenblk/error.h"

namespace xenblk::daemon {

// An allow-list, for all threads of the process, for ever. Any other call, and an allowed one with
// other arguments, fails with EPERM; the kernel's log has it. Threads can still be started,
// programs not. `more` are calls that are allowed too, by number. Errors: unavailable (no seccomp).
Expected<void> limit_system_calls(const std::vector<int>& more = {});

}  // namespace xenblk::daemon
