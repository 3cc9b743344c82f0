#include "backend/daemon/host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace xenblk::daemon {

Expected<void> refuse_kernel_backend(const std::vector<std::string>& kinds,
                                     const std::string& driver_directory) {
  for (const auto& kind : kinds) {
    std::error_code ignored;
    if (!std::filesystem::exists(driver_directory + "/" + kind, ignored)) continue;
    return fail(
        Errc::unavailable,
        fmt::format("the kernel's backend driver serves \"{}\": unload it (rmmod xen-blkback) "
                    "and keep it out (blacklist), or serve other names with -n",
                    kind));
  }
  return {};
}

Expected<gid_t> group_number(const std::string& name) {
  const auto* group = ::getgrnam(name.c_str());
  if (group == nullptr) {
    return fail(Errc::not_found, fmt::format("control-group: there is no group {}", name));
  }
  return group->gr_gid;
}

Expected<PidFile> PidFile::take(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return fail_os(errno, directory);
  auto path = directory + "/xenblkd.pid";
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (descriptor < 0) return fail_os(errno, path);
  PidFile file(std::move(path), descriptor);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 16> pid{};
    const auto length = ::pread(descriptor, pid.data(), pid.size() - 1, 0);
    file.path_.clear();  // it is theirs
    std::string_view text(pid.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    if (text.ends_with('\n')) text.remove_suffix(1);
    return fail(Errc::unavailable, fmt::format("another xenblkd is running, process {}", text));
  }
  const auto text = fmt::format("{}\n", ::getpid());
  if (::ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return fail_os(errno, file.path_);
  }
  return file;
}

PidFile::PidFile(PidFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), descriptor_(std::exchange(other.descriptor_, -1)) {}

PidFile::~PidFile() {
  if (descriptor_ < 0) return;
  // Emptied, not removed: a daemon that starts now may have the file open already, waiting for no
  // lock.
  if (!path_.empty()) [[maybe_unused]]
    const int failed = ::ftruncate(descriptor_, 0);
  ::close(descriptor_);
}

}  // namespace xenblk::daemon
