// What a program does first of all. Without it the first file that it opens may get the number of a
// standard stream that was closed when it was started, and what is said there goes into that file.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <initializer_list>

namespace xenblk {

// Gives numbers 0 to 2 to something, where they are free. Reading from what was closed fails as
// before, and so does writing to it. One thread.
inline void occupy_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // The lowest number that is free is taken, and that is this one.
    const int opened = ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (opened != stream) ::_exit(1);  // nobody can be told why
  }
}

}  // namespace xenblk
