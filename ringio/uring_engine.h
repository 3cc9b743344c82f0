// The I/O engine on io_uring. Pinned; the thread that makes it is the only one that may use it,
// apart from post(). uring_engine.cpp is the only file that knows liburing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ringio/loop_engine.h"
#include "xenblk/error.h"
#include "xenblk/io.h"

namespace xenblk::ringio {

// How the kernel runs completions. Each is what the next older kernels can do; all behave alike.
enum class UringFlavour : std::uint8_t {
  deferred,     // Linux 6.1: completions run only when the thread waits for them, in one batch
  cooperative,  // Linux 5.19: without interrupting the thread
  plain,        // any
};

struct UringOptions {
  std::uint32_t submission_entries = 256;
  // Registered with the kernel when it allows that: operations whose buffer lies in it spare the
  // kernel the look-up of its pages. Borrowed; must outlive the engine.
  std::span<std::byte> fixed_memory;
  // The newest to try; an older one is taken where the kernel refuses it.
  UringFlavour flavour = UringFlavour::deferred;
  // The ring refuses what the engine never asks for: uring_restrictions.h.
  bool restricted = true;
};

// A descriptor to be told about. Owned by the caller, who keeps it until the engine is gone.
struct Watch {
  int descriptor = -1;
  // Runs in turn() when the descriptor has become readable. Must read until nothing is left: what
  // remains unread is not reported again.
  void (*ready)(Watch&) noexcept = nullptr;
};

// A descriptor with O_NONBLOCK that gives bytes when it has some, as /dev/xen/evtchn does. Owned by
// the caller, who keeps it and its buffer until the engine is gone.
struct StreamRead {
  int descriptor = -1;
  std::span<std::byte> buffer;
  // Runs in turn(), once for each read(). So many bytes of the buffer are filled; 0: the kernel
  // cannot read this descriptor so.
  void (*done)(StreamRead&, std::size_t bytes) noexcept = nullptr;
};

// Who writes to such a descriptor, which takes a few bytes at once. Owned by the caller, who keeps
// it until the engine is gone.
struct StreamWriter {
  int descriptor = -1;
  // Runs in turn() when `bytes` were not taken.
  void (*failed)(StreamWriter&, std::span<const std::byte> bytes) noexcept = nullptr;
};

class UringEngine final : public LoopEngine {
 public:
  // Errors: unavailable (no io_uring, or forbidden), no_memory, io.
  static Expected<std::unique_ptr<UringEngine>> make(const UringOptions& options);
  // Nothing may be in flight or posted.
  ~UringEngine() override;
  UringEngine(const UringEngine&) = delete;
  UringEngine& operator=(const UringEngine&) = delete;

  void submit(IoOp& op) noexcept override;
  void post(Task& task) noexcept override;
  void turn(std::chrono::nanoseconds patience) noexcept override;

  void watch(Watch& watch) noexcept;

  // Reads once, as soon as there is something. One at a time.
  void read(StreamRead& read) noexcept;
  // Copies the bytes and writes them with the next turn's operations, which spares a system call.
  // False: nothing was done, because the kernel cannot do it quietly, the bytes are too many or
  // those before wait still.
  [[nodiscard]] bool write(StreamWriter& writer, std::span<const std::byte> bytes) noexcept;

  UringFlavour flavour() const;
  bool has_fixed_memory() const;
  // Submitted and not done, waiting ones included.
  std::uint64_t unfinished() const;

 private:
  class Impl;
  explicit UringEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace xenblk::ringio
