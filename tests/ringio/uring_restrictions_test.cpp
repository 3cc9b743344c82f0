// What a restricted ring answers, asked without liburing: an attacker would not need it either.
#include "ringio/uring_restrictions.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include <linux/io_uring.h>

namespace xenblk::ringio::test {
namespace {

// A ring of one entry, disabled until someone enables it. Both queues lie in one mapping.
class RawRing {
 public:
  RawRing() {
    parameters_.flags = IORING_SETUP_R_DISABLED;
    descriptor_ = static_cast<int>(::syscall(__NR_io_uring_setup, 1, &parameters_));
    bytes_ = parameters_.cq_off.cqes + parameters_.cq_entries * sizeof(io_uring_cqe);
    queues_ = map(bytes_, IORING_OFF_SQ_RING);
    entry_ = static_cast<io_uring_sqe*>(map(sizeof(io_uring_sqe), IORING_OFF_SQES));
  }
  ~RawRing() {
    ::munmap(entry_, sizeof(io_uring_sqe));
    ::munmap(queues_, bytes_);
    ::close(descriptor_);
  }
  RawRing(const RawRing&) = delete;
  RawRing& operator=(const RawRing&) = delete;

  int descriptor() const { return descriptor_; }

  // The result of one operation with this code, flags and file.
  int run(std::uint8_t operation, std::uint8_t flags = 0, int file = -1) {
    std::memset(entry_, 0, sizeof *entry_);
    entry_->opcode = operation;
    entry_->flags = flags;
    entry_->fd = file;
    std::atomic_ref tail(number(parameters_.sq_off.tail));
    number(parameters_.sq_off.array) = 0;
    tail.store(tail.load() + 1, std::memory_order_release);
    const auto entered =
        ::syscall(__NR_io_uring_enter, descriptor_, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
    if (entered < 0) return -errno;
    std::atomic_ref head(number(parameters_.cq_off.head));
    const auto mask = number(parameters_.cq_off.ring_mask);
    const auto* completions = reinterpret_cast<const io_uring_cqe*>(
        static_cast<const std::byte*>(queues_) + parameters_.cq_off.cqes);
    const int result = completions[head.load() & mask].res;
    head.store(head.load() + 1, std::memory_order_release);
    return result;
  }

 private:
  void* map(std::size_t bytes, std::uint64_t what) const {
    return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_,
                  static_cast<off_t>(what));
  }
  std::uint32_t& number(std::uint32_t offset) const {
    return *reinterpret_cast<std::uint32_t*>(static_cast<std::byte*>(queues_) + offset);
  }

  io_uring_params parameters_ = {};
  int descriptor_ = -1;
  std::size_t bytes_ = 0;
  void* queues_ = nullptr;
  io_uring_sqe* entry_ = nullptr;
};

TEST(RestrictedRing, RefusesEveryOperationThatTheEngineDoesNotUse) {
  RawRing ring;
  ASSERT_EQ(restrict_and_enable_ring(ring.descriptor()), 0);
  for (const auto operation :
       {IORING_OP_NOP, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_SENDMSG, IORING_OP_RECVMSG,
        IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_OPENAT, IORING_OP_CLOSE, IORING_OP_STATX,
        IORING_OP_OPENAT2, IORING_OP_SPLICE, IORING_OP_UNLINKAT, IORING_OP_RENAMEAT,
        IORING_OP_SOCKET, IORING_OP_URING_CMD}) {
    EXPECT_EQ(ring.run(static_cast<std::uint8_t>(operation)), -EACCES) << operation;
  }
}

TEST(RestrictedRing, DoesWhatTheEngineUses) {
  RawRing ring;
  ASSERT_EQ(restrict_and_enable_ring(ring.descriptor()), 0);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(ring.run(IORING_OP_READ, 0, null), 0);
  EXPECT_EQ(ring.run(IORING_OP_WRITE, 0, null), 0);
  ::close(null);
}

TEST(RestrictedRing, RefusesFlagsThatTheEngineDoesNotUse) {
  RawRing ring;
  ASSERT_EQ(restrict_and_enable_ring(ring.descriptor()), 0);
  EXPECT_EQ(ring.run(IORING_OP_READ, IOSQE_FIXED_FILE), -EACCES);
  EXPECT_EQ(ring.run(IORING_OP_READ, IOSQE_IO_LINK), -EACCES);
}

TEST(RestrictedRing, TakesNoMoreOrders) {
  RawRing ring;
  ASSERT_EQ(restrict_and_enable_ring(ring.descriptor()), 0);
  EXPECT_EQ(enable_ring(ring.descriptor()), -EACCES);
}

TEST(UnrestrictedRing, DoesAnything) {
  RawRing ring;
  ASSERT_EQ(enable_ring(ring.descriptor()), 0);
  EXPECT_EQ(ring.run(IORING_OP_NOP), 0);
}

}  // namespace
}  // namespace xenblk::ringio::test
