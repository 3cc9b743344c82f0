// Each part of the confinement in a child of its own, which tries what must not work any more.
#include "backend/daemon/confinement/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "backend/daemon/confinement/file_view.h"
#include "backend/daemon/confinement/privileges.h"
#include "backend/daemon/confinement/system_calls.h"

namespace xenblk::daemon {
namespace {

namespace fs = std::filesystem;

// What came out of a child: its exit status, or minus the signal that ended it.
int in_child(const std::function<int()>& work) {
  const auto child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct Call {
  const char* name;
  long number;
  long first = 0, second = 0, third = 0;
};

// How many of the calls did not fail with EPERM. Each has arguments with which it does no harm.
int not_refused(const std::vector<Call>& calls) {
  int wrong = 0;
  for (const auto& call : calls) {
    errno = 0;
    const auto result = ::syscall(call.number, call.first, call.second, call.third, 0, 0, 0);
    if (result == -1 && errno == EPERM) continue;
    std::fprintf(stderr, "%s: result %ld, errno %d\n", call.name, result, errno);
    ++wrong;
  }
  return wrong;
}

// For children: everything is as it should be, or the number of the line that is not.
#define NEED(condition)                          \
  do {                                           \
    if (!(condition)) return __LINE__ % 250 + 1; \
  } while (false)

TEST(SystemCalls, OfAttackersAreRefused) {
  EXPECT_EQ(in_child([] {
              NEED(limit_system_calls().has_value());
              return not_refused({
                  {"execve", SYS_execve},
                  {"execveat", SYS_execveat, -1},
                  {"fork", SYS_fork},
                  {"vfork", SYS_vfork},
                  {"clone of a process", SYS_clone, SIGCHLD},
                  {"ptrace", SYS_ptrace, -1},
                  {"process_vm_readv", SYS_process_vm_readv, -1},
                  {"process_vm_writev", SYS_process_vm_writev, -1},
                  {"kill", SYS_kill, ::getppid(), 0},
                  {"tgkill of another process", SYS_tgkill, ::getppid(), ::getppid()},
                  {"mount", SYS_mount},
                  {"umount2", SYS_umount2},
                  {"pivot_root", SYS_pivot_root},
                  {"chroot", SYS_chroot},
                  {"unshare", SYS_unshare, -1},
                  {"setns", SYS_setns, -1},
                  {"bpf", SYS_bpf, -1},
                  {"perf_event_open", SYS_perf_event_open},
                  {"userfaultfd", SYS_userfaultfd, -1},
                  {"keyctl", SYS_keyctl, -1},
                  {"add_key", SYS_add_key},
                  {"init_module", SYS_init_module},
                  {"finit_module", SYS_finit_module, -1},
                  {"kexec_load", SYS_kexec_load, 0, 1000000},
                  {"reboot", SYS_reboot},
                  {"iopl", SYS_iopl, 9},
                  {"ioperm", SYS_ioperm, -1},
                  {"open_by_handle_at", SYS_open_by_handle_at, -1},
                  {"memfd_create", SYS_memfd_create},
                  {"truncate", SYS_truncate},
                  {"mknod", SYS_mknod},
                  {"chmod", SYS_chmod},
                  {"chown", SYS_chown},
                  {"symlink", SYS_symlink},
                  {"setuid", SYS_setuid, -1},
                  {"setresuid", SYS_setresuid, -1, -1, -1},
                  {"capset", SYS_capset},
                  {"seccomp", SYS_seccomp, -1},
                  {"io_uring_setup", SYS_io_uring_setup, 1},
                  {"io_uring_register", SYS_io_uring_register, -1, 4},
                  {"socket of the network", SYS_socket, AF_INET, SOCK_STREAM},
                  {"socket of the kernel", SYS_socket, AF_NETLINK, SOCK_RAW},
                  {"a hypercall through privcmd", SYS_ioctl, 0, 0x305000},
                  {"input for a terminal", SYS_ioctl, 0, TIOCSTI},
                  {"prctl but for names", SYS_prctl, PR_SET_DUMPABLE, 99},
              });
            }),
            0);
}

TEST(SystemCalls, LeaveNoMemoryForCode) {
  EXPECT_EQ(in_child([] {
              NEED(limit_system_calls().has_value());
              constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
              NEED(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, kFlags, -1, 0) == MAP_FAILED);
              NEED(errno == EPERM);
              void* const data = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, kFlags, -1, 0);
              NEED(data != MAP_FAILED);
              NEED(::mprotect(data, 4096, PROT_READ | PROT_EXEC) == -1 && errno == EPERM);
              NEED(::mprotect(data, 4096, PROT_READ) == 0);
              return 0;
            }),
            0);
}

TEST(SystemCalls, LetTheDaemonDoItsWork) {
  EXPECT_EQ(in_child([] {
              NEED(limit_system_calls().has_value());
              std::atomic<int> number = 0;
              std::thread([&number] {
                ::prctl(PR_SET_NAME, "after");
                std::vector<char> memory(1 << 20);
                number = memory.back() + 1;
              }).join();
              NEED(number == 1);
              const int local = ::socket(AF_UNIX, SOCK_DGRAM, 0);
              NEED(local >= 0);
              NEED(::access("/", F_OK) == 0);
              NEED(::isatty(local) == 0 && errno != EPERM);
              return 0;
            }),
            0);
}

TEST(SystemCalls, AreLimitedForThreadsThatRunAlready) {
  EXPECT_EQ(in_child([] {
              std::atomic<bool> limited = false;
              int error = 0;
              std::thread other([&] {
                limited.wait(false);
                error = ::syscall(SYS_unshare, -1) == -1 ? errno : 0;
              });
              const bool fine = limit_system_calls().has_value();
              limited = true;
              limited.notify_all();
              other.join();
              NEED(fine && error == EPERM);
              return 0;
            }),
            0);
}

TEST(SystemCalls, LetAnAssertionEndTheProcessAsEver) {
  EXPECT_EQ(in_child([] {
              NEED(limit_system_calls().has_value());
              std::signal(SIGABRT, SIG_DFL);
              std::abort();
              return 0;
            }),
            -SIGABRT);
}

// --- files ---

class FileViewTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1) < 1) {
      GTEST_SKIP() << "this kernel has no Landlock";
    }
    std::string pattern = testing::TempDir() + "/xenblk-view-XXXXXX";
    top_ = ::mkdtemp(pattern.data());
    for (const char* name : {"images", "parents", "state", "other"}) {
      fs::create_directory(fs::path(top_) / name);
      std::ofstream(top_ + "/" + name + "/file") << "x";
    }
  }
  void TearDown() override {
    if (!top_.empty()) fs::remove_all(top_);
  }
  // 0, or why the file cannot be opened.
  int open_error(const char* name, int flags) const {
    const int descriptor = ::open((top_ + "/" + name).c_str(), flags | O_CLOEXEC, 0600);
    if (descriptor < 0) return errno;
    ::close(descriptor);
    return 0;
  }
  bool limit() const {
    const auto limited = limit_file_view({.readable = {top_ + "/parents"},
                                          .writable = {top_ + "/images", top_ + "/not-there"},
                                          .own = {top_ + "/state"}});
    return limited.has_value() && *limited;
  }
  std::string top_;
};

TEST_F(FileViewTest, HasImagesToWriteAndToMake) {
  EXPECT_EQ(in_child([this] {
              NEED(limit());
              NEED(open_error("images/file", O_RDWR) == 0);
              NEED(open_error("images/new", O_RDWR | O_CREAT) == 0);
              NEED(::rename((top_ + "/images/new").c_str(), (top_ + "/images/newer").c_str()) == 0);
              NEED(::unlink((top_ + "/images/newer").c_str()) == 0);
              NEED(::symlink("/etc", (top_ + "/images/link").c_str()) == -1 && errno == EACCES);
              NEED(::mkdir((top_ + "/images/directory").c_str(), 0700) == -1 && errno == EACCES);
              return 0;
            }),
            0);
}

TEST_F(FileViewTest, HasParentsToReadOnly) {
  EXPECT_EQ(in_child([this] {
              NEED(limit());
              NEED(open_error("parents/file", O_RDONLY) == 0);
              NEED(open_error("parents/file", O_RDWR) == EACCES);
              NEED(open_error("parents/new", O_RDWR | O_CREAT) == EACCES);
              NEED(::unlink((top_ + "/parents/file").c_str()) == -1 && errno == EACCES);
              return 0;
            }),
            0);
}

TEST_F(FileViewTest, HasNothingElse) {
  EXPECT_EQ(in_child([this] {
              NEED(limit());
              NEED(open_error("other/file", O_RDONLY) == EACCES);
              NEED(open_error("other/file", O_RDWR) == EACCES);
              NEED(::open("/etc/passwd", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES);
              NEED(::rename((top_ + "/images/file").c_str(), (top_ + "/other/new").c_str()) == -1);
              return 0;
            }),
            0);
}

TEST_F(FileViewTest, HasStateWithSocketsAndDirectories) {
  EXPECT_EQ(in_child([this] {
              NEED(limit());
              NEED(::mkdir((top_ + "/state/directory").c_str(), 0700) == 0);
              NEED(open_error("state/directory/file", O_RDWR | O_CREAT) == 0);
              sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
              const auto path = top_ + "/state/socket";
              NEED(path.size() < sizeof address.sun_path);
              path.copy(address.sun_path, path.size());
              const int local = ::socket(AF_UNIX, SOCK_STREAM, 0);
              NEED(::bind(local, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
              return 0;
            }),
            0);
}

TEST(ImageRoots, AreUsuallyWhatDoesNotMakeUpTheHost) {
  std::string pattern = testing::TempDir() + "/xenblk-roots-XXXXXX";
  const std::string top = ::mkdtemp(pattern.data());
  for (const char* name :
       {"etc", "usr", "root", "srv", "home", "dev", "var/lib/xen", "var/spool"}) {
    fs::create_directories(top + "/" + name);
  }
  fs::create_symlink("/etc", top + "/link");
  std::ofstream(top + "/file") << "x";
  EXPECT_EQ(usual_image_roots(top), (std::vector<std::string>{top + "/dev", top + "/home",
                                                              top + "/srv", top + "/var/lib/xen"}));
  fs::remove_all(top);
}

// --- user and capabilities ---

std::string status_line(const std::string& name) {
  std::ifstream status("/proc/thread-self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
  }
  return {};
}

// CAP_CHOWN, CAP_SETGID, CAP_SETUID and CAP_SETPCAP.
bool may_change_user() {
  constexpr std::uint64_t kNeeded = 1U << 0 | 1U << 6 | 1U << 7 | 1U << 8;
  return (std::stoull(status_line("CapEff"), nullptr, 16) & kNeeded) == kNeeded;
}

class Privileges : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || !may_change_user()) {
      GTEST_SKIP() << "only root has something to drop";
    }
    std::string pattern = testing::TempDir() + "/xenblk-user-XXXXXX";
    top_ = ::mkdtemp(pattern.data());
    std::ofstream(top_ + "/image") << "x";
    fs::permissions(top_ + "/image", fs::perms::owner_read | fs::perms::owner_write);
    fs::create_directory(top_ + "/state");
  }
  void TearDown() override {
    if (!top_.empty()) fs::remove_all(top_);
  }
  std::string top_;
};

TEST_F(Privileges, ShrinkToOpeningFiles) {
  EXPECT_EQ(in_child([] {
              NEED(drop_capabilities().has_value());
              NEED(status_line("CapEff") == "0000000000000002");
              NEED(status_line("CapPrm") == "0000000000000002");
              NEED(status_line("CapBnd") == "0000000000000002");
              NEED(status_line("CapInh") == "0000000000000000");
              NEED(status_line("CapAmb") == "0000000000000000");
              NEED(status_line("NoNewPrivs") == "1");
              // The C library would ask every thread, a sanitizer's own included.
              NEED(::syscall(SYS_setresuid, 1, 1, 1) == -1 && errno == EPERM);
              return 0;
            }),
            0);
}

TEST_F(Privileges, OfAnotherUserStillOpenImages) {
  EXPECT_EQ(in_child([this] {
              const auto became = become_user("nobody", top_ + "/state");
              NEED(became.has_value() && *became);
              NEED(drop_capabilities().has_value());
              NEED(::geteuid() != 0 && ::getuid() != 0 && ::getegid() != 0);
              NEED(status_line("CapEff") == "0000000000000002");
              NEED(::open((top_ + "/image").c_str(), O_RDWR | O_CLOEXEC) >= 0);
              NEED(::chmod((top_ + "/image").c_str(), 0666) == -1 && errno == EPERM);
              NEED(::chmod((top_ + "/state").c_str(), 0711) == 0);
              NEED(::prctl(PR_GET_DUMPABLE) == 1);
              return 0;
            }),
            0);
}

TEST_F(Privileges, StayWhereThereIsNoSuchUser) {
  EXPECT_EQ(in_child([this] {
              const auto became = become_user("xenblk-of-no-host", top_ + "/state");
              NEED(became.has_value() && !*became);
              NEED(::geteuid() == 0);
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace xenblk::daemon
