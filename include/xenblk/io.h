// The I/O seam: files and the engine that reads and writes them without blocking.
// Real: vhd/host_file (files) and ringio/uring (engine). In tests: a simulated disk with errors,
// delays, reordering and power cuts.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "xenblk/error.h"
#include "xenblk/units.h"

namespace xenblk {

// An open file or block device. The calls here block and are for opening, closing and tools; a
// running disk uses IoEngine. Any thread, and several at once, as pread and pwrite allow. Offsets
// and lengths are bytes; read_at, write_at of any alignment work (the implementation bounces).
class File {
 public:
  virtual ~File() = default;

  // Reads exactly buffer.size() bytes; reaching the end of the file is Errc::bad_image ("ends
  // early").
  virtual Expected<void> read_at(std::uint64_t offset, std::span<std::byte> buffer) = 0;
  virtual Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> data) = 0;
  // Everything written and completed before is on stable storage when it returns (fdatasync).
  virtual Expected<void> sync_data() = 0;
  virtual Expected<std::uint64_t> size_bytes() = 0;
  virtual Expected<void> truncate(std::uint64_t bytes) = 0;
  // The range reads as zeroes afterwards and, where the file system can, takes no space.
  virtual Expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes) = 0;
  // First byte at or after `offset` that is not in a hole; the file's size if there is none.
  virtual Expected<std::uint64_t> next_data(std::uint64_t offset) = 0;
  // First byte at or after `offset` that is in a hole; the file's size if there is none.
  virtual Expected<std::uint64_t> next_hole(std::uint64_t offset) = 0;

  virtual bool is_block_device() const = 0;
  virtual Access access() const = 0;
  // Offset, length and memory alignment in bytes that IoOp on this file must keep: a power of two,
  // at most kSectorBytes (a file whose direct I/O would need more is opened through the page
  // cache).
  virtual std::uint32_t alignment_bytes() const = 0;
  // The descriptor for an engine of the operating system; -1 for a simulated file.
  virtual int descriptor() const = 0;
};

enum class IoKind : std::uint8_t {
  read,        // a read beyond the end of the file is short, not an error
  write,       // extends the file as needed
  sync_data,   // fdatasync; covers all operations that completed before it was submitted
  punch_hole,  // fallocate(PUNCH_HOLE | KEEP_SIZE)
};

// One operation on a file. The caller owns it and keeps it, the file and the buffer alive and
// untouched until `done` runs. Embedded in the caller's own struct: nothing is allocated per
// operation.
struct IoOp : boost::intrusive::list_base_hook<> {
  IoKind kind = IoKind::read;
  File* file = nullptr;
  std::uint64_t offset = 0;
  std::byte* buffer = nullptr;  // read, write
  std::uint64_t bytes = 0;      // read, write, punch_hole
  // Set by the engine: bytes done (fewer than asked only for a read that met the end of the file),
  // or -errno.
  std::int64_t result = 0;
  void (*done)(IoOp&) noexcept = nullptr;
};
using IoOpList = boost::intrusive::list<IoOp, boost::intrusive::constant_time_size<false>>;

// Work handed to an engine's thread by another one. The poster owns it until `run` is called.
struct Task : boost::intrusive::list_base_hook<> {
  void (*run)(Task&) noexcept = nullptr;
};
using TaskList = boost::intrusive::list<Task, boost::intrusive::constant_time_size<false>>;

// Runs operations on the thread of one worker. Rules that every implementation keeps:
// `done` is called exactly once for each submitted operation, on the engine's thread, and never
// inside submit(); a short transfer is continued by the engine; submit() never fails and never
// allocates (an operation that finds no room waits in an intrusive list).
class IoEngine {
 public:
  virtual ~IoEngine() = default;
  // Engine's thread only.
  virtual void submit(IoOp& op) noexcept = 0;
  // Any thread: `task.run` will be called once, on the engine's thread, soon.
  virtual void post(Task& task) noexcept = 0;
};

}  // namespace xenblk
