// Reading and writing an open file. How one is opened: open_host_file.cpp.
#include "vhd/host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include <linux/fs.h>
#include <sys/ioctl.h>

#include "vhd/aligned_buffer.h"

namespace xenblk::vhd {
namespace {

// Large enough that a bounced copy of an image is not slow, small enough to be no one's memory
// problem.
constexpr std::uint64_t kBounceBytes = 256 * 1024;

std::uint64_t round_down(std::uint64_t n, std::uint64_t unit) {
  return n - n % unit;
}

// The next bounced part of [offset, offset + bytes): whole units of `unit` around it.
struct Window {
  std::uint64_t start;  // aligned
  std::uint64_t bytes;  // aligned
  std::uint64_t skip;   // bytes of the window before the part
  std::uint64_t part;   // bytes of the part
};

Window window_at(std::uint64_t offset, std::uint64_t bytes, std::uint64_t unit) {
  const auto start = round_down(offset, unit);
  const auto skip = offset - start;
  const auto part = std::min(bytes, kBounceBytes - skip);
  const auto padding = (unit - (skip + part) % unit) % unit;
  return {start, skip + part + padding, skip, part};
}

}  // namespace

HostFile::~HostFile() {
  assert(parts_.descriptor >= 0);
  ::close(parts_.descriptor);
}

std::unexpected<Error> HostFile::failed(const char* what) const {
  const int os_error = errno;
  return fail_os(os_error, parts_.path + ": cannot " + what);
}

bool HostFile::is_aligned(std::uint64_t offset, const std::byte* memory,
                          std::uint64_t bytes) const {
  const std::uint64_t mask = parts_.alignment_bytes - 1;
  // The address only matters by its low bits.
  return ((offset | bytes | reinterpret_cast<std::uintptr_t>(memory)) & mask) == 0;
}

// Reads until the buffer is full or the file ends; aligned ranges only.
Expected<std::uint64_t> HostFile::read_some(std::uint64_t offset, std::span<std::byte> buffer) {
  std::uint64_t done = 0;
  while (done < buffer.size()) {
    const auto n = ::pread(parts_.descriptor, buffer.data() + done, buffer.size() - done,
                           static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read");
    if (n == 0) break;
    done += static_cast<std::uint64_t>(n);
    // A short direct read ends at the end of the file; going on from there would be unaligned.
    if (!is_aligned(done, nullptr, 0)) break;
  }
  return done;
}

Expected<void> HostFile::read_at(std::uint64_t offset, std::span<std::byte> buffer) {
  const auto ends_early = [&] {
    return fail(Errc::bad_image, parts_.path + ": the file ends early");
  };
  if (is_aligned(offset, buffer.data(), buffer.size())) {
    const auto n = read_some(offset, buffer);
    if (!n) return std::unexpected(n.error());
    if (*n < buffer.size()) return ends_early();
    return {};
  }
  AlignedBuffer bounce(kBounceBytes);
  while (!buffer.empty()) {
    const auto window = window_at(offset, buffer.size(), parts_.alignment_bytes);
    const auto n = read_some(window.start, bounce.first(window.bytes));
    if (!n) return std::unexpected(n.error());
    if (*n < window.skip + window.part) return ends_early();
    std::memcpy(buffer.data(), bounce.data() + window.skip, window.part);
    buffer = buffer.subspan(window.part);
    offset += window.part;
  }
  return {};
}

Expected<void> HostFile::write_all(std::uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const auto n =
        ::pwrite(parts_.descriptor, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("write");
    data = data.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Expected<void> HostFile::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  assert(parts_.access == Access::read_write);
  if (is_aligned(offset, data.data(), data.size())) return write_all(offset, data);
  return write_bounced(offset, data);
}

Expected<void> HostFile::write_bounced(std::uint64_t offset, std::span<const std::byte> data) {
  const std::lock_guard lock(bounce_);
  const auto size = size_bytes();
  if (!size) return std::unexpected(size.error());
  const auto end = std::max(*size, offset + data.size());
  AlignedBuffer bounce(kBounceBytes);
  while (!data.empty()) {
    const auto window = window_at(offset, data.size(), parts_.alignment_bytes);
    const auto n = read_some(window.start, bounce.first(window.bytes));
    if (!n) return std::unexpected(n.error());
    std::memset(bounce.data() + *n, 0, window.bytes - *n);
    std::memcpy(bounce.data() + window.skip, data.data(), window.part);
    if (auto ok = write_all(window.start, bounce.first(window.bytes)); !ok) return ok;
    data = data.subspan(window.part);
    offset += window.part;
  }
  // The last unit may have gone beyond the end that was asked for.
  return end % parts_.alignment_bytes == 0 || parts_.block_device ? Expected<void>{}
                                                                  : truncate(end);
}

Expected<void> HostFile::sync_data() {
  if (::fdatasync(parts_.descriptor) != 0) return failed("sync");
  return {};
}

Expected<std::uint64_t> HostFile::size_bytes() {
  if (parts_.block_device) {
    std::uint64_t bytes = 0;
    if (::ioctl(parts_.descriptor, BLKGETSIZE64, &bytes) != 0) return failed("ask for the size");
    return bytes;
  }
  struct stat status = {};
  if (::fstat(parts_.descriptor, &status) != 0) return failed("ask for the size");
  return static_cast<std::uint64_t>(status.st_size);
}

Expected<void> HostFile::truncate(std::uint64_t bytes) {
  if (::ftruncate(parts_.descriptor, static_cast<off_t>(bytes)) != 0)
    return failed("change the size");
  return {};
}

Expected<void> HostFile::punch_hole(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0) return {};
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const auto result =
      ::fallocate(parts_.descriptor, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  if (result == 0) return {};
  if (errno != EOPNOTSUPP && errno != EINVAL) return failed("punch a hole");
  return write_zeroes(offset, bytes);
}

// What punching means where the file system cannot: only inside the file, as a hole would be.
Expected<void> HostFile::write_zeroes(std::uint64_t offset, std::uint64_t bytes) {
  const auto size = size_bytes();
  if (!size) return std::unexpected(size.error());
  if (offset >= *size) return {};
  bytes = std::min(bytes, *size - offset);
  const AlignedBuffer zeroes(kBounceBytes);
  while (bytes > 0) {
    const auto part = std::min(bytes, kBounceBytes);
    if (auto ok = write_at(offset, zeroes.first(part)); !ok) return ok;
    offset += part;
    bytes -= part;
  }
  return {};
}

Expected<std::uint64_t> HostFile::next_data(std::uint64_t offset) {
  const auto size = size_bytes();
  if (!size) return size;
  if (offset >= *size) return *size;
  const auto found = ::lseek(parts_.descriptor, static_cast<off_t>(offset), SEEK_DATA);
  if (found >= 0) return static_cast<std::uint64_t>(found);
  if (errno == ENXIO) return *size;
  // A system that does not know holes has none.
  if (errno == EINVAL || errno == EOPNOTSUPP) return offset;
  return failed("look for holes");
}

Expected<std::uint64_t> HostFile::next_hole(std::uint64_t offset) {
  const auto size = size_bytes();
  if (!size) return size;
  if (offset >= *size) return *size;
  const auto found = ::lseek(parts_.descriptor, static_cast<off_t>(offset), SEEK_HOLE);
  if (found >= 0) return static_cast<std::uint64_t>(found);
  if (errno == EINVAL || errno == EOPNOTSUPP) return *size;
  return failed("look for holes");
}

}  // namespace xenblk::vhd
