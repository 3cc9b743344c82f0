#include "backend/daemon/confinement/system_calls.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>

#include <linux/fs.h>
#include <linux/io_uring.h>

namespace xenblk::daemon {
namespace {

// Not truncate(): Landlock in Linux 6.1 would let it empty any file. ftruncate() needs one that was
// opened for writing.
constexpr int kFiles[] = {
    SCMP_SYS(read),       SCMP_SYS(write),      SCMP_SYS(pread64),        SCMP_SYS(pwrite64),
    SCMP_SYS(readv),      SCMP_SYS(writev),     SCMP_SYS(preadv),         SCMP_SYS(pwritev),
    SCMP_SYS(lseek),      SCMP_SYS(open),       SCMP_SYS(openat),         SCMP_SYS(close),
    SCMP_SYS(stat),       SCMP_SYS(fstat),      SCMP_SYS(lstat),          SCMP_SYS(newfstatat),
    SCMP_SYS(statx),      SCMP_SYS(statfs),     SCMP_SYS(fstatfs),        SCMP_SYS(access),
    SCMP_SYS(faccessat),  SCMP_SYS(faccessat2), SCMP_SYS(readlink),       SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64), SCMP_SYS(fcntl),      SCMP_SYS(flock),          SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),  SCMP_SYS(ftruncate),  SCMP_SYS(fchmod),         SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),  SCMP_SYS(unlink),     SCMP_SYS(unlinkat),       SCMP_SYS(rename),
    SCMP_SYS(renameat),   SCMP_SYS(renameat2),  SCMP_SYS(link),           SCMP_SYS(linkat),
    SCMP_SYS(mkdir),      SCMP_SYS(mkdirat),    SCMP_SYS(rmdir),          SCMP_SYS(umask),
    SCMP_SYS(getcwd),     SCMP_SYS(dup),        SCMP_SYS(dup2),           SCMP_SYS(dup3),
    SCMP_SYS(pipe2),      SCMP_SYS(sendfile),   SCMP_SYS(copy_file_range)};

constexpr int kWaiting[] = {SCMP_SYS(poll),
                            SCMP_SYS(ppoll),
                            SCMP_SYS(select),
                            SCMP_SYS(pselect6),
                            SCMP_SYS(epoll_create1),
                            SCMP_SYS(epoll_ctl),
                            SCMP_SYS(epoll_wait),
                            SCMP_SYS(epoll_pwait),
                            SCMP_SYS(epoll_pwait2),
                            SCMP_SYS(eventfd2),
                            SCMP_SYS(timerfd_create),
                            SCMP_SYS(timerfd_settime),
                            SCMP_SYS(timerfd_gettime),
                            SCMP_SYS(signalfd4),
                            SCMP_SYS(io_uring_enter),
                            SCMP_SYS(clock_gettime),
                            SCMP_SYS(clock_getres),
                            SCMP_SYS(clock_nanosleep),
                            SCMP_SYS(nanosleep),
                            SCMP_SYS(gettimeofday),
                            SCMP_SYS(time)};

// Connected sockets of the family that own_sockets_only() lets be made.
constexpr int kSockets[] = {SCMP_SYS(connect),    SCMP_SYS(bind),        SCMP_SYS(listen),
                            SCMP_SYS(accept),     SCMP_SYS(accept4),     SCMP_SYS(sendto),
                            SCMP_SYS(sendmsg),    SCMP_SYS(sendmmsg),    SCMP_SYS(recvfrom),
                            SCMP_SYS(recvmsg),    SCMP_SYS(shutdown),    SCMP_SYS(getsockopt),
                            SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername)};

constexpr int kMemoryAndThreads[] = {SCMP_SYS(brk),
                                     SCMP_SYS(munmap),
                                     SCMP_SYS(mremap),
                                     SCMP_SYS(madvise),
                                     SCMP_SYS(msync),
                                     SCMP_SYS(mincore),
                                     SCMP_SYS(futex),
                                     SCMP_SYS(set_robust_list),
                                     SCMP_SYS(get_robust_list),
                                     SCMP_SYS(rseq),
                                     SCMP_SYS(membarrier),
                                     SCMP_SYS(sched_yield),
                                     SCMP_SYS(sched_getaffinity),
                                     SCMP_SYS(getcpu),
                                     SCMP_SYS(exit),
                                     SCMP_SYS(exit_group),
                                     SCMP_SYS(sigaltstack),
                                     SCMP_SYS(rt_sigaction),
                                     SCMP_SYS(rt_sigprocmask),
                                     SCMP_SYS(rt_sigreturn),
                                     SCMP_SYS(restart_syscall)};

constexpr int kAsking[] = {SCMP_SYS(getpid),  SCMP_SYS(getppid),   SCMP_SYS(gettid),
                           SCMP_SYS(getuid),  SCMP_SYS(geteuid),   SCMP_SYS(getgid),
                           SCMP_SYS(getegid), SCMP_SYS(getrandom), SCMP_SYS(getrusage),
                           SCMP_SYS(uname),   SCMP_SYS(sysinfo),   SCMP_SYS(getrlimit)};

// By type and number; the size that the rest of the code has differs between versions of Xen.
// Linux include/uapi/xen/gntdev.h: map, unmap, offset of an address, grants at most, notify, copy.
constexpr std::uint64_t kGrantDeviceCommands[] = {0, 1, 2, 3, 7, 8};
// include/uapi/xen/evtchn.h: bind to a domain's port, unbind, notify, restrict to a domain.
constexpr std::uint64_t kEventChannelCommands[] = {1, 3, 4, 6};
constexpr std::uint64_t kTypeAndNumber = 0xffff;

constexpr std::uint64_t kDeviceCommands[] = {BLKGETSIZE64, BLKSSZGET, BLKPBSZGET,
                                             TCGETS /* is it a terminal */, FIONBIO};

// Adds rules until one fails, and remembers that.
class Filter {
 public:
  Filter() : context_(::seccomp_init(SCMP_ACT_ERRNO(EPERM))) {}
  ~Filter() {
    if (context_ != nullptr) ::seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void allow(std::span<const int> calls) {
    for (const int call : calls) note(::seccomp_rule_add(context_, SCMP_ACT_ALLOW, call, 0));
  }
  // With this argument only.
  void allow(int call, scmp_arg_cmp argument) {
    note(::seccomp_rule_add_array(context_, SCMP_ACT_ALLOW, call, 1, &argument));
  }
  void allow(int call, const std::array<scmp_arg_cmp, 2>& both) {
    note(::seccomp_rule_add_array(context_, SCMP_ACT_ALLOW, call, 2, both.data()));
  }
  void answer(int call, int error) {
    note(::seccomp_rule_add(context_, SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), call, 0));
  }
  void set(scmp_filter_attr attribute, std::uint32_t value) {
    note(::seccomp_attr_set(context_, attribute, value));
  }
  // 0 or -errno.
  int load() {
    if (context_ == nullptr) return -ENOMEM;
    return result_ < 0 ? result_ : ::seccomp_load(context_);
  }

 private:
  void note(int result) {
    if (result_ == 0 && result < 0) result_ = result;
  }
  scmp_filter_ctx context_;
  int result_ = 0;
};

scmp_arg_cmp equals(unsigned argument, std::uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}

scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
  return {.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

// No memory that code could be put into and run from. All libraries are there by now.
void allow_data_only(Filter& filter) {
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    filter.allow(call, masked(2, PROT_EXEC, 0));
  }
}

void allow_threads_only(Filter& filter) {
  filter.allow(SCMP_SYS(clone), masked(0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM));
  // Its arguments lie in memory, where a filter cannot see them; the C library then takes clone().
  filter.answer(SCMP_SYS(clone3), ENOSYS);
  filter.allow(SCMP_SYS(tgkill), equals(0, static_cast<std::uint64_t>(::getpid())));
  for (const int option : {PR_SET_NAME, PR_GET_NAME}) {
    filter.allow(SCMP_SYS(prctl), equals(0, static_cast<std::uint64_t>(option)));
  }
}

void allow_own_sockets_only(Filter& filter) {
  for (const int call : {SCMP_SYS(socket), SCMP_SYS(socketpair)}) {
    filter.allow(call, equals(0, AF_UNIX));
  }
}

void allow_device_commands(Filter& filter) {
  const auto allow = [&](char type, std::uint64_t number) {
    const auto wanted = static_cast<std::uint64_t>(type) << 8 | number;
    filter.allow(SCMP_SYS(ioctl), masked(1, kTypeAndNumber, wanted));
  };
  for (const auto number : kGrantDeviceCommands) allow('G', number);
  for (const auto number : kEventChannelCommands) allow('E', number);
  // The kernel looks at 32 bits.
  for (const auto command : kDeviceCommands) {
    filter.allow(SCMP_SYS(ioctl), masked(1, 0xffff'ffff, command));
  }
}

}  // namespace

Expected<void> limit_system_calls(const std::vector<int>& more) {
  Filter filter;
  // All threads or none; denials in the kernel's log; a tree, so that what comes late in the list
  // costs no more.
  filter.set(SCMP_FLTATR_CTL_TSYNC, 1);
  filter.set(SCMP_FLTATR_CTL_LOG, 1);
  filter.set(SCMP_FLTATR_CTL_OPTIMIZE, 2);
  filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
  filter.allow(kFiles);
  filter.allow(kWaiting);
  filter.allow(kSockets);
  filter.allow(kMemoryAndThreads);
  filter.allow(kAsking);
  filter.allow(more);
  allow_data_only(filter);
  allow_threads_only(filter);
  allow_own_sockets_only(filter);
  allow_device_commands(filter);
  // Asking for a limit, not setting one.
  filter.allow(SCMP_SYS(prlimit64), {equals(0, 0), equals(2, 0)});
  // A ring gives its registered descriptor back; more, its own restrictions refuse too.
  filter.allow(SCMP_SYS(io_uring_register), equals(1, IORING_UNREGISTER_RING_FDS));
  if (const int result = filter.load(); result < 0) {
    return fail(Errc::unavailable, "no filter of system calls", -result);
  }
  return {};
}

}  // namespace xenblk::daemon
