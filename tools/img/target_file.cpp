#include "tools/img/target_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include <fmt/format.h>

#include "vhd/host_file.h"
#include "vhd/new_file.h"

namespace xenblk::img {
namespace {

// Another one's file, for an image that wants one of its own.
class BorrowedFile final : public File {
 public:
  explicit BorrowedFile(File& file) : file_(file) {}
  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override {
    return file_.read_at(offset, buffer);
  }
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override {
    return file_.write_at(offset, data);
  }
  Expected<void> sync_data() override { return file_.sync_data(); }
  Expected<std::uint64_t> size_bytes() override { return file_.size_bytes(); }
  Expected<void> truncate(std::uint64_t bytes) override { return file_.truncate(bytes); }
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override {
    return file_.punch_hole(offset, bytes);
  }
  Expected<std::uint64_t> next_data(std::uint64_t offset) override {
    return file_.next_data(offset);
  }
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override {
    return file_.next_hole(offset);
  }
  bool is_block_device() const override { return file_.is_block_device(); }
  Access access() const override { return file_.access(); }
  std::uint32_t alignment_bytes() const override { return file_.alignment_bytes(); }
  int descriptor() const override { return file_.descriptor(); }

 private:
  File& file_;
};

// What `fill` says it says of other files too: its errors are taken past make_new_file, which would
// put the target's name before them.
Expected<void> make_new(const std::string& path, const Fill& fill) {
  std::optional<Error> own;
  auto made = vhd::make_new_file(path, [&](File& file) {
    auto filled = fill(file, std::make_unique<BorrowedFile>(file));
    if (!filled) own = filled.error();
    return filled;
  });
  return own ? Expected<void>(std::unexpected(*own)) : made;
}

// What is replaced keeps its name until the new file is complete.
Expected<void> replace(const std::string& path, const Fill& fill) {
  // Its lock: a disk that is running is not taken away from under its guest.
  const auto old = vhd::open_host_file(path, {.access = Access::read_write});
  if (!old) return std::unexpected(old.error());
  const auto beside = fmt::format("{}.replacing-{}", path, ::getpid());
  if (auto made = make_new(beside, fill); !made) return made;
  if (std::rename(beside.c_str(), path.c_str()) == 0) return vhd::sync_directory_of(path);
  const int error = errno;
  ::unlink(beside.c_str());
  return fail_os(error, path);
}

}  // namespace

Expected<void> make_target(const std::string& path, Existing existing, const Fill& fill) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return make_new(path, fill);
  if (existing == Existing::refused) {
    return fail(Errc::refused, path + ": exists; it is replaced only with --force");
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(Errc::refused, path + ": is not a regular file, and is not replaced");
  }
  return replace(path, fill);
}

}  // namespace xenblk::img
