#include "backend/control/metrics_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace xenblk::control {

Expected<void> replace_file(const std::string& path, const std::string& text) {
  // The collector reads what ends with ".prom" only.
  const auto beside = path + ".new";
  ::unlink(beside.c_str());
  const int file =
      ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (file < 0) return fail_os(errno, beside);
  // The collector is another user, whatever the daemon's mask says.
  int reason = ::fchmod(file, 0644) == 0 ? 0 : errno;
  for (std::size_t done = 0; done < text.size() && reason == 0;) {
    const auto count = ::write(file, text.data() + done, text.size() - done);
    if (count < 0) reason = errno;
    if (count > 0) done += static_cast<std::size_t>(count);
  }
  ::close(file);
  if (reason == 0 && ::rename(beside.c_str(), path.c_str()) != 0) reason = errno;
  if (reason == 0) return {};
  ::unlink(beside.c_str());
  return fail_os(reason, path);
}

}  // namespace xenblk::control
