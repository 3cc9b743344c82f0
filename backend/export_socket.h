// Where the socket of an export may lie. Pure.
#pragma once

#include <string>
#include <string_view>

#include "xenblk/error.h"

namespace xenblk::backend {

// The path that `text` means: a name in `directory`, or a path that says so itself. Elsewhere the
// daemon makes no sockets: whoever may use the control socket need not be root. Errors: bad_spec.
Expected<std::string> export_socket(std::string_view directory, std::string_view text);

}  // namespace xenblk::backend
