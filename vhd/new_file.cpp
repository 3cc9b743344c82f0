#include "vhd/new_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "vhd/host_file.h"

namespace xenblk::vhd {
namespace {

std::string directory_of(const std::string& path) {
  const auto directory = std::filesystem::path(path).parent_path();
  return directory.empty() ? "." : directory.string();
}

bool is_taken(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0;
}

// Not every file system can rename without replacing; a hard link never replaces.
int give_name(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (::link(from.c_str(), to.c_str()) != 0) return errno;
  ::unlink(from.c_str());
  return 0;
}

Expected<void> fill_file(const std::string& path,
                         const std::function<Expected<void>(File&)>& fill) {
  auto file = open_host_file(path, {.access = Access::read_write});
  if (!file) return std::unexpected(file.error());
  if (auto ok = fill(**file); !ok) return ok;
  // Its length too, which fdatasync may leave out when it is not needed to read the data.
  if (::fsync((*file)->descriptor()) != 0) return fail_os(errno, "cannot sync");
  return {};
}

}  // namespace

Expected<void> sync_directory_of(const std::string& path) {
  const auto directory = directory_of(path);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return fail_os(errno, directory);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // A file system that cannot sync a directory has nothing to sync there.
  if (error == 0 || error == EINVAL) return {};
  return fail_os(error, directory + ": cannot sync");
}

Expected<void> make_new_file(const std::string& path,
                             const std::function<Expected<void>(File&)>& fill) {
  if (is_taken(path)) return fail_os(EEXIST, path);
  auto temporary = path + ".new-XXXXXX";
  const int descriptor = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0) return fail_os(errno, path);
  ::close(descriptor);
  auto made = fill_file(temporary, fill);
  if (!made) {
    made.error().text = path + ": " + made.error().text;
  } else if (const int error = give_name(temporary, path); error != 0) {
    made = fail_os(error, path);
  }
  if (!made) {
    ::unlink(temporary.c_str());
    return made;
  }
  if (auto synced = sync_directory_of(path); !synced) {
    ::unlink(path.c_str());
    return synced;
  }
  return {};
}

}  // namespace xenblk::vhd
