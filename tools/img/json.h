// JSON on standard output: indented, keys in the order in which they are documented.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/img/output.h"

namespace xenblk::img {

using Json = nlohmann::ordered_json;

// Names and texts may hold bytes that are no UTF-8; they are replaced, not refused.
inline void print_json(const Json& json) {
  print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace xenblk::img
