#include "ringio/uring_restrictions.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <linux/io_uring.h>

namespace xenblk::ringio {
namespace {

// Reads and writes also go to the event channels.
constexpr std::array kOperations = {
    IORING_OP_READ,  IORING_OP_WRITE,     IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
    IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD,   IORING_OP_ASYNC_CANCEL,
};

// Closing the ring gives its registered descriptor back.
constexpr std::array kRegistrations = {IORING_UNREGISTER_RING_FDS};

constexpr std::uint8_t kSubmissionFlags = IOSQE_CQE_SKIP_SUCCESS;

int register_ring(int descriptor, unsigned what, void* argument, unsigned count) noexcept {
  const auto result = ::syscall(__NR_io_uring_register, descriptor, what, argument, count);
  return result < 0 ? -errno : 0;
}

}  // namespace

int restrict_and_enable_ring(int descriptor) noexcept {
  std::array<io_uring_restriction, kOperations.size() + kRegistrations.size() + 1> all = {};
  auto* next = all.data();
  for (const auto operation : kOperations) {
    next->opcode = IORING_RESTRICTION_SQE_OP;
    next++->sqe_op = static_cast<std::uint8_t>(operation);
  }
  for (const auto registration : kRegistrations) {
    next->opcode = IORING_RESTRICTION_REGISTER_OP;
    next++->register_op = static_cast<std::uint8_t>(registration);
  }
  next->opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  next->sqe_flags = kSubmissionFlags;
  const int result = register_ring(descriptor, IORING_REGISTER_RESTRICTIONS, all.data(),
                                   static_cast<unsigned>(all.size()));
  return result < 0 ? result : enable_ring(descriptor);
}

int enable_ring(int descriptor) noexcept {
  return register_ring(descriptor, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

}  // namespace xenblk::ringio
