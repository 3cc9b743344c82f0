// Says what a guest negotiated, what that costs it, and how it can be changed. Pure.
#pragma once

#include <string>
#include <vector>

#include "backend/device_status.h"

namespace xenblk::control {

// What is known, a line each: what it is, and after "->" what to do about it where something can be
// done.
std::vector<std::string> explain(const backend::DeviceStatus& status);

}  // namespace xenblk::control
