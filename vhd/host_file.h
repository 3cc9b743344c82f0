// A file or block device of the host: opened, locked against other programs, and read and written
// without an engine. A running disk uses descriptor() with an IoEngine; the calls of File here
// block. Owned by the image that is in it. Any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "xenblk/error.h"
#include "xenblk/io.h"
#include "xenblk/units.h"

namespace xenblk::vhd {

// Two paths that name one file (by symbolic or hard link) have one identity; so have two device
// nodes of one block device.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;  // 0 for a block device, whose `device` is its own number
  auto operator<=>(const FileIdentity&) const = default;
};

struct HostFileOptions {
  Access access = Access::read_only;
  // Bypass the page cache where the file system can and the alignment it asks for is at most a
  // sector.
  bool direct_io = true;
  // False only to look at what this process itself has open and locked.
  bool locked = true;
};

// Pinned: it owns a descriptor and the lock that is bound to it.
class HostFile final : public File {
 public:
  struct Parts {
    int descriptor = -1;
    Access access = Access::read_only;
    bool block_device = false;
    std::uint32_t alignment_bytes = 1;
    std::uint32_t physical_sector_bytes = kSectorBytes;
    FileIdentity identity;
    std::string path;
  };
  explicit HostFile(Parts parts) : parts_(std::move(parts)) {}
  ~HostFile() override;
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) override;
  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) override;
  Expected<void> sync_data() override;
  Expected<std::uint64_t> size_bytes() override;
  Expected<void> truncate(std::uint64_t bytes) override;
  Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) override;
  Expected<std::uint64_t> next_data(std::uint64_t offset) override;
  Expected<std::uint64_t> next_hole(std::uint64_t offset) override;
  bool is_block_device() const override { return parts_.block_device; }
  Access access() const override { return parts_.access; }
  std::uint32_t alignment_bytes() const override { return parts_.alignment_bytes; }
  int descriptor() const override { return parts_.descriptor; }

  FileIdentity identity() const { return parts_.identity; }
  // The lock goes, so that this process can open the file in another way, and comes back. Errors:
  // locked, io.
  Expected<void> unlock();
  Expected<void> lock_again();
  // What the host calls a physical sector here: of the device, or the file system's block up to a
  // page.
  std::uint32_t physical_sector_bytes() const { return parts_.physical_sector_bytes; }

 private:
  bool is_aligned(std::uint64_t offset, const std::byte* memory, std::uint64_t bytes) const;
  Expected<std::uint64_t> read_some(std::uint64_t offset, std::span<std::byte> buffer);
  Expected<void> write_all(std::uint64_t offset, std::span<const std::byte> data);
  Expected<void> write_bounced(std::uint64_t offset, std::span<const std::byte> data);
  Expected<void> write_zeroes(std::uint64_t offset, std::uint64_t bytes);
  std::unexpected<Error> failed(const char* what) const;

  const Parts parts_;
  // Unaligned writes read, change and write back whole units: one at a time.
  std::mutex bounce_;
};

// Opens and locks. Refused: what is neither a regular file nor a block device (bad_spec), what
// another process has locked (locked), and what the system refuses.
Expected<std::unique_ptr<HostFile>> open_host_file(const std::string& path,
                                                   const HostFileOptions& options);

// Which file a path names now, without opening it.
Expected<FileIdentity> identify_host_file(const std::string& path);

}  // namespace xenblk::vhd
