#include "vhd/operations/metadata_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "vhd/format/saved_metadata.h"
#include "vhd/new_file.h"

namespace xenblk::vhd {
namespace {

Expected<std::vector<std::byte>> read_whole(int descriptor, const std::string& path) {
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return fail_os(errno, path);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size > kSavedMetadataBytesMax) {
    return fail(Errc::bad_image, path + ": not a file of saved metadata");
  }
  std::vector<std::byte> bytes(size);
  for (std::size_t done = 0; done < bytes.size();) {
    const auto n =
        ::pread(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_os(errno, path);
    if (n == 0) return fail(Errc::bad_image, path + ": ends early");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace

Expected<void> MetadataFile::save(std::span<const std::byte> bytes) {
  return make_new_file(path_, [&](File& file) { return file.write_at(0, bytes); });
}

Expected<std::optional<std::vector<std::byte>>> MetadataFile::load() {
  // O_NONBLOCK: a FIFO in its place must not hold us.
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0 && errno == ENOENT) return std::nullopt;
  if (descriptor < 0) return fail_os(errno, path_);
  auto bytes = read_whole(descriptor, path_);
  ::close(descriptor);
  if (!bytes) return std::unexpected(bytes.error());
  return std::optional(std::move(*bytes));
}

Expected<void> MetadataFile::remove() {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return fail_os(errno, path_);
  return sync_directory_of(path_);
}

std::string resize_journal_path(const std::string& path) {
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  return (error ? path : real.string()) + ".vhdj";
}

std::string free_backup_path(const std::string& path) {
  for (int n = 1;; ++n) {
    auto candidate = fmt::format("{}.before-repair-{}", path, n);
    if (::access(candidate.c_str(), F_OK) != 0) return candidate;
  }
}

}  // namespace xenblk::vhd
