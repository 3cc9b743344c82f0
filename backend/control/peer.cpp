#include "backend/control/peer.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace xenblk::control {
namespace {

// The further groups of the peer; what does not fit is not a member.
bool has_group(int descriptor, gid_t group) {
  std::array<gid_t, 1024> groups{};
  socklen_t bytes = sizeof groups;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) != 0) return false;
  const auto end = groups.begin() + bytes / sizeof(gid_t);
  return std::find(groups.begin(), end, group) != end;
}

}  // namespace

Expected<std::string> check_peer(int descriptor, std::optional<gid_t> group) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return fail_os(errno, "credentials of a client");
  }
  const bool by_group = group && (peer.gid == *group || has_group(descriptor, *group));
  if (peer.uid == 0 || peer.uid == ::geteuid() || by_group) {
    return fmt::format("uid {}, process {}", peer.uid, peer.pid);
  }
  return fail(Errc::permission, fmt::format("user {} may not control the disks", peer.uid));
}

}  // namespace xenblk::control
