// What a program says. A stream that cannot be written, because it is full or nobody reads it any
// more, never ends the program by itself.
#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "xenblk/error.h"

namespace xenblk::img {

// To standard output. Failures are remembered for flush_output().
void write_output(std::string_view text);

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  write_output(fmt::format(format, std::forward<Args>(args)...));
}

// All that was said is where it belongs, or the first error of writing it.
Expected<void> flush_output();

// To standard error, at once. There is nobody to tell when that fails.
void write_message(std::string_view text);

}  // namespace xenblk::img
