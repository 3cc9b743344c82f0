#include "nbd/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace xenblk::nbd {
namespace {

constexpr int kBacklog = 16;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::ranges::copy(path, address.sun_path);
  return address;
}

int new_socket() {
  return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

bool somebody_listens(const sockaddr_un& address) {
  const int probe = new_socket();
  if (probe < 0) return true;
  const int result = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const bool nobody = result != 0 && errno == ECONNREFUSED;
  ::close(probe);
  return !nobody;
}

// What a server that was killed has left goes; nothing else does.
Expected<void> make_room(const std::string& path, const sockaddr_un& address) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return fail(Errc::refused, path + " exists and is no socket");
  if (somebody_listens(address)) return fail(Errc::refused, path + " is in use by another server");
  if (::unlink(path.c_str()) != 0) return fail_os(errno, path);
  return {};
}

}  // namespace

Expected<ListeningSocket> ListeningSocket::make(const std::string& path) {
  if (path.empty() || path.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return fail(Errc::bad_spec, "the path of a socket has 1 to 107 bytes: " + path);
  }
  const auto address = address_of(path);
  if (auto room = make_room(path, address); !room) return std::unexpected(room.error());
  const int descriptor = new_socket();
  if (descriptor < 0) return fail_os(errno, "socket");
  ListeningSocket socket(descriptor);
  // The name gets the mode that the socket has when it is bound: nobody else sees it open.
  if (::fchmod(descriptor, S_IRUSR | S_IWUSR) != 0) return fail_os(errno, path);
  if (::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_os(errno, path);
  }
  socket.path_ = path;
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return fail_os(errno, path);
  socket.device_ = status.st_dev;
  socket.inode_ = status.st_ino;
  if (::listen(descriptor, kBacklog) != 0) return fail_os(errno, path);
  return socket;
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)),
      device_(other.device_),
      inode_(other.inode_) {}

ListeningSocket::~ListeningSocket() {
  if (descriptor_ < 0) return;
  struct stat status = {};
  if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
      status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  ::close(descriptor_);
}

int ListeningSocket::accept() const {
  const int accepted = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return accepted >= 0 ? accepted : -errno;
}

}  // namespace xenblk::nbd
