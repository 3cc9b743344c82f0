// User and capabilities of the process.
#pragma once

#include <string>

#include "xenblk/error.h"

namespace xenblk::daemon {

// Becomes that user, with its groups, and keeps the capabilities that are left for
// drop_capabilities(). `own_directory` is given to it. False: there is no such user. All threads of
// the process. Errors: permission, io.
Expected<bool> become_user(const std::string& user, const std::string& own_directory);

// All but CAP_DAC_OVERRIDE, which opens images whoever owns them, for this thread and those that it
// starts; and no program that it may ever start gets any back. Before, memory may be locked without
// limit, for the buffers that io_uring keeps. Errors: permission, io.
Expected<void> drop_capabilities();

// For messages.
std::string own_user_name();

}  // namespace xenblk::daemon
