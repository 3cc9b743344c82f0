#include "tools/img/output.h"

#include <cerrno>
#include <cstdio>

namespace xenblk::img {
namespace {

// The stream itself remembers only that it has failed.
int first_error = 0;

}  // namespace

void write_output(std::string_view text) {
  if (first_error != 0) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) first_error = errno;
}

Expected<void> flush_output() {
  if (first_error == 0 && std::fflush(stdout) != 0) first_error = errno;
  if (first_error != 0) return fail_os(first_error, "standard output");
  return {};
}

void write_message(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace xenblk::img
