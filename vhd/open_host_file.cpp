// Opening a file of the host: what kind it is, how it may be accessed, and the lock.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <utility>

#include <linux/fs.h>

#include "vhd/aligned_buffer.h"
#include "vhd/host_file.h"

namespace xenblk::vhd {
namespace {

// Closes on the way out unless the descriptor was taken.
class Descriptor {
 public:
  explicit Descriptor(int n) : n_(n) {}
  ~Descriptor() {
    if (n_ >= 0) ::close(n_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return n_; }
  int take() { return std::exchange(n_, -1); }

 private:
  int n_;
};

bool is_servable(const struct stat& status) {
  return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode);
}

FileIdentity identity_of(const struct stat& status) {
  if (S_ISBLK(status.st_mode)) return {status.st_rdev, 0};
  return {status.st_dev, status.st_ino};
}

// O_NONBLOCK: opening a FIFO would otherwise wait for its other end; disks ignore it.
int open_once(const std::string& path, Access access, int more_flags) {
  const int mode = access == Access::read_write ? O_RDWR : O_RDONLY;
  int n = -1;
  do {
    n = ::open(path.c_str(), mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | more_flags);
  } while (n < 0 && errno == EINTR);
  return n;
}

Expected<struct stat> status_of(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return fail_os(errno, path);
  if (!is_servable(status)) {
    return fail(Errc::bad_spec, path + ": neither a regular file nor a block device");
  }
  return status;
}

// A lock of the open file description: unlike a process's lock it is not lost when some other part
// of the process closes the same file, and it excludes a second opening in this process too.
Expected<void> lock(int descriptor, short type, const std::string& path) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  if (::fcntl(descriptor, F_OFD_SETLK, &range) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) {
    return fail(Errc::locked, path + ": locked by another process", errno);
  }
  return fail_os(errno, path + ": cannot lock");
}

short lock_type(Access access) {
  return access == Access::read_write ? F_WRLCK : F_RDLCK;
}

// What direct I/O on this file must keep, in bytes; 0 when nobody knows.
std::uint32_t direct_alignment_bytes(int descriptor, const struct stat& status) {
  if (S_ISBLK(status.st_mode)) {
    int logical_bytes = 0;
    if (::ioctl(descriptor, BLKSSZGET, &logical_bytes) == 0 && logical_bytes > 0) {
      return static_cast<std::uint32_t>(logical_bytes);
    }
  }
#ifdef STATX_DIOALIGN
  struct statx extended = {};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
      (extended.stx_mask & STATX_DIOALIGN) != 0) {
    return std::max(extended.stx_dio_mem_align, extended.stx_dio_offset_align);
  }
#endif
  return 0;
}

// Kernels before 6.1 and some file systems do not tell their alignment: one sector read decides.
bool reads_one_sector(int descriptor) {
  const AlignedBuffer page(kPageBytes);
  return ::pread(descriptor, page.data() + kSectorBytes, kSectorBytes, kSectorBytes) >= 0;
}

bool suits_direct_io(int descriptor, const struct stat& status) {
  const auto bytes = direct_alignment_bytes(descriptor, status);
  if (bytes == 0) return reads_one_sector(descriptor);
  return bytes <= kSectorBytes && std::has_single_bit(bytes);
}

std::uint32_t physical_sector_bytes(int descriptor, const struct stat& status) {
  unsigned int bytes = static_cast<unsigned int>(status.st_blksize);
  if (S_ISBLK(status.st_mode) && ::ioctl(descriptor, BLKPBSZGET, &bytes) != 0) bytes = kSectorBytes;
  return std::has_single_bit(bytes) ? std::clamp(bytes, kSectorBytes, kPageBytes) : kPageBytes;
}

struct Opened {
  int descriptor;
  bool direct;
};

// Direct where it works, else through the page cache.
Expected<Opened> open_best(const std::string& path, const HostFileOptions& options,
                           const struct stat& status) {
  if (options.direct_io) {
    Descriptor direct(open_once(path, options.access, O_DIRECT));
    if (direct.get() >= 0 && suits_direct_io(direct.get(), status))
      return Opened{direct.take(), true};
    if (direct.get() < 0 && errno != EINVAL) return fail_os(errno, path);
  }
  const int cached = open_once(path, options.access, 0);
  if (cached < 0) return fail_os(errno, path);
  return Opened{cached, false};
}

// Whoever made the file, or cut it off last, left pages of it in the cache. As long as there is
// one, or the trace of one, the kernel looks for more at each direct write: that is 3 to 6 per
// cent.
void forget_cached_pages(int descriptor) {
  (void)::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace

Expected<void> HostFile::unlock() {
  return lock(parts_.descriptor, F_UNLCK, parts_.path);
}

Expected<void> HostFile::lock_again() {
  return lock(parts_.descriptor, lock_type(parts_.access), parts_.path);
}

Expected<FileIdentity> identify_host_file(const std::string& path) {
  const auto status = status_of(path);
  if (!status) return std::unexpected(status.error());
  return identity_of(*status);
}

Expected<std::unique_ptr<HostFile>> open_host_file(const std::string& path,
                                                   const HostFileOptions& options) {
  // Looked at before it is opened, since opening some devices has effects.
  const auto before = status_of(path);
  if (!before) return std::unexpected(before.error());
  const auto opened = open_best(path, options, *before);
  if (!opened) return std::unexpected(opened.error());
  Descriptor descriptor(opened->descriptor);
  struct stat status = {};
  if (::fstat(descriptor.get(), &status) != 0) return fail_os(errno, path);
  if (identity_of(status) != identity_of(*before)) {
    return fail(Errc::io, path + ": changed while it was opened");
  }
  if (options.locked) {
    auto locked = lock(descriptor.get(), lock_type(options.access), path);
    if (!locked) return std::unexpected(locked.error());
  }
  const bool writes_directly = opened->direct && options.access == Access::read_write;
  if (writes_directly && S_ISREG(status.st_mode)) forget_cached_pages(descriptor.get());
  HostFile::Parts parts{.access = options.access,
                        .block_device = S_ISBLK(status.st_mode),
                        .alignment_bytes = opened->direct ? kSectorBytes : 1,
                        .physical_sector_bytes = physical_sector_bytes(descriptor.get(), status),
                        .identity = identity_of(status),
                        .path = path};
  parts.descriptor = descriptor.take();
  return std::make_unique<HostFile>(std::move(parts));
}

}  // namespace xenblk::vhd
