#include "backend/daemon/confinement/privileges.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <linux/capability.h>

namespace xenblk::daemon {
namespace {

constexpr int kHighestCapability = 63;

using CapabilitySets = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

__user_cap_header_struct own_thread() {
  return {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
}

Expected<CapabilitySets> capabilities() {
  auto header = own_thread();
  CapabilitySets sets = {};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return fail_os(errno, "capget");
  return sets;
}

Expected<void> set_capabilities(const CapabilitySets& sets) {
  auto header = own_thread();
  if (::syscall(SYS_capset, &header, sets.data()) != 0) return fail_os(errno, "capset");
  return {};
}

bool has_effective(const CapabilitySets& sets, unsigned capability) {
  return (sets[capability / 32].effective >> (capability % 32) & 1U) != 0;
}

// What even a program started with set-user-ID root could not have. Who may not change this set has
// nothing to lose by it.
Expected<void> drop_from_bounding_set(const CapabilitySets& sets) {
  if (!has_effective(sets, CAP_SETPCAP)) return {};
  for (int capability = 0; capability <= kHighestCapability; ++capability) {
    if (capability == CAP_DAC_OVERRIDE) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL) break;  // this kernel has no more
    return fail_os(errno, "drop capabilities from the bounding set");
  }
  return {};
}

void lift_memory_lock_limit() {
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  // Without it a worker's buffers are merely not registered with its ring.
  (void)::setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

}  // namespace

Expected<bool> become_user(const std::string& user, const std::string& own_directory) {
  if (::geteuid() != 0) return true;  // whoever started us has chosen
  const passwd* const entry = ::getpwnam(user.c_str());
  if (entry == nullptr) return false;
  lift_memory_lock_limit();
  if (::chown(own_directory.c_str(), entry->pw_uid, entry->pw_gid) != 0) {
    return fail_os(errno, own_directory);
  }
  const auto before = capabilities();
  if (!before) return std::unexpected(before.error());
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return fail_os(errno, "keep capabilities");
  if (::initgroups(user.c_str(), entry->pw_gid) != 0 ||
      ::setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
      ::setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0) {
    return fail_os(errno, fmt::format("become the user {}", user));
  }
  ::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  // The change made the process one that leaves no core file; but one is wanted, and holds no
  // guest's data.
  ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  if (auto restored = set_capabilities(*before); !restored) {
    return std::unexpected(restored.error());
  }
  return true;
}

Expected<void> drop_capabilities() {
  lift_memory_lock_limit();
  auto sets = capabilities();
  if (!sets) return std::unexpected(sets.error());
  if (auto dropped = drop_from_bounding_set(*sets); !dropped) return dropped;
  constexpr std::uint32_t kKept = std::uint32_t{1} << CAP_DAC_OVERRIDE;
  const auto kept = (*sets)[0].permitted & kKept;
  CapabilitySets after = {};
  after[0].permitted = after[0].effective = kept;
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return fail_os(errno, "clear ambient capabilities");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_os(errno, "no new privileges");
  return set_capabilities(after);
}

std::string own_user_name() {
  const passwd* const entry = ::getpwuid(::geteuid());
  return entry != nullptr ? entry->pw_name : std::to_string(::geteuid());
}

}  // namespace xenblk::daemon
