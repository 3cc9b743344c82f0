// The paths of XenStore.
#pragma once

#include <string>
#include <string_view>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk::loopback {

// The absolute form of a path as a client gives it: a relative one starts at the domain's own
// /local/domain/<domid>. Error io (EINVAL) for what xenstored would not accept.
Expected<std::string> absolute_path(std::string_view path, DomainId own);

}  // namespace xenblk::loopback
