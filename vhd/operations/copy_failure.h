// What an operation on whole images says when a request of it failed. Pure.
#pragma once

#include <string>
#include <string_view>

#include "xenblk/image.h"

namespace xenblk::vhd {

// "NAME: cannot WHAT 8 sectors at sector 16", with the errno that fits the status.
std::unexpected<Error> request_failed(std::string_view image_name, std::string_view what,
                                      const ImageRequest& request);

// The operation was told to stop.
std::unexpected<Error> operation_stopped();

}  // namespace xenblk::vhd
