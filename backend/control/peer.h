// Who is at the other end of a local socket.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "xenblk/error.h"

namespace xenblk::control {

// "uid 0, process 123" when this peer may use the control socket: root, the user that this process
// runs as, or a member of `group`. The kernel vouches for it. Errors: permission, io.
Expected<std::string> check_peer(int descriptor, std::optional<gid_t> group);

}  // namespace xenblk::control
