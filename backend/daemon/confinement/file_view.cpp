#include "backend/daemon/confinement/file_view.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <linux/landlock.h>

namespace xenblk::daemon {
namespace {

// Not in Debian 12's headers; numbers from Linux, include/uapi/linux/landlock.h.
constexpr std::uint64_t kTruncate = std::uint64_t{1} << 14;

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWrite = kRead | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                 LANDLOCK_ACCESS_FS_REFER | kTruncate;
constexpr std::uint64_t kOwn = kWrite | LANDLOCK_ACCESS_FS_MAKE_DIR |
                               LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK;
constexpr std::uint64_t kNever = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM;
// What can be said of a single file.
constexpr std::uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

// What this kernel can tell apart; each version added to the one before. 0: no Landlock.
std::uint64_t handled() {
  const auto version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return 0;
  std::uint64_t all = kOwn | kNever;
  if (version < 2) all &= ~std::uint64_t{LANDLOCK_ACCESS_FS_REFER};
  if (version < 3) all &= ~kTruncate;
  return all;
}

class Ruleset {
 public:
  explicit Ruleset(std::uint64_t all) : all_(all) {
    const landlock_ruleset_attr attributes = {.handled_access_fs = all};
    descriptor_ =
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
  }
  ~Ruleset() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Ruleset(const Ruleset&) = delete;
  Ruleset& operator=(const Ruleset&) = delete;

  Expected<void> allow(const std::vector<std::string>& paths, std::uint64_t access) const {
    for (const auto& path : paths) {
      if (auto allowed = allow(path, access); !allowed) return allowed;
    }
    return {};
  }

  Expected<void> restrict_self() const {
    if (::syscall(SYS_landlock_restrict_self, descriptor_, 0) != 0) {
      return fail_os(errno, "Landlock");
    }
    return {};
  }

 private:
  Expected<void> allow(const std::string& path, std::uint64_t access) const {
    const int beneath = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    if (beneath < 0 && errno == ENOENT) return {};
    if (beneath < 0) return fail_os(errno, path);
    struct stat status = {};
    if (::fstat(beneath, &status) == 0 && !S_ISDIR(status.st_mode)) access &= kOfFiles;
    const landlock_path_beneath_attr rule = {.allowed_access = access & all_, .parent_fd = beneath};
    const auto added =
        ::syscall(SYS_landlock_add_rule, descriptor_, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    const int error = errno;
    ::close(beneath);
    if (added != 0) return fail_os(error, path);
    return {};
  }

  const std::uint64_t all_;
  int descriptor_ = -1;
};

}  // namespace

Expected<bool> limit_file_view(const FileView& view) {
  const auto all = handled();
  if (all == 0) return false;
  const Ruleset rules(all);
  if (auto ok = rules.allow(view.readable, kRead); !ok) return std::unexpected(ok.error());
  if (auto ok = rules.allow(view.writable, kWrite); !ok) return std::unexpected(ok.error());
  if (auto ok = rules.allow(view.own, kOwn); !ok) return std::unexpected(ok.error());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_os(errno, "no new privileges");
  if (auto ok = rules.restrict_self(); !ok) return std::unexpected(ok.error());
  return true;
}

}  // namespace xenblk::daemon
