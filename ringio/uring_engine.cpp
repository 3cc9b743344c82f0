#include "ringio/uring_engine.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <thread>
#include <utility>

#include "ringio/mailbox.h"
#include "ringio/uring_restrictions.h"

namespace xenblk::ringio {
namespace {

// The completion queue holds this many times the submission queue; operations beyond it wait with
// us, because a completion queue that overflows costs the kernel an allocation each.
constexpr std::uint32_t kCompletionsPerSubmission = 8;
// Room in the completion queue for the watched descriptors.
constexpr std::uint32_t kCompletionsReserved = 64;
// An SQE's length has 32 bits and Linux moves at most 2 GiB less a page at once.
constexpr std::uint64_t kMaxTransferBytes = std::uint64_t{1} << 30;

// 256 event channels.
constexpr std::size_t kStreamWriteBytesMax = 1024;

// What an SQE's user_data points to, told apart by the lowest bits.
constexpr std::uint64_t kIoTag = 0;
constexpr std::uint64_t kWatchTag = 1;
constexpr std::uint64_t kReadTag = 2;
constexpr std::uint64_t kWriteTag = 3;
constexpr std::uint64_t kTags = 3;

std::uint64_t tagged(const void* pointer, std::uint64_t tag) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  assert((address & kTags) == 0);
  return address | tag;
}

template <class T>
T& untagged(std::uint64_t data) {
  return *reinterpret_cast<T*>(data & ~kTags);
}

std::uint32_t setup_flags(UringFlavour flavour) {
  switch (flavour) {
    case UringFlavour::deferred:
      return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    case UringFlavour::cooperative:
      return IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    case UringFlavour::plain:
      return 0;
  }
  return 0;
}

bool is_transfer(IoKind kind) {
  return kind == IoKind::read || kind == IoKind::write;
}

}  // namespace

class UringEngine::Impl {
 public:
  explicit Impl(Mailbox mailbox) : mailbox_(std::move(mailbox)) {}
  ~Impl();
  int open(const UringOptions& options);

  void submit(IoOp& op) noexcept;
  void post(Task& task) noexcept;
  void turn(std::chrono::nanoseconds patience) noexcept;
  void watch(Watch& watch) noexcept;
  void read(StreamRead& read) noexcept;
  bool write(StreamWriter& writer, std::span<const std::byte> bytes) noexcept;

  UringFlavour flavour() const { return flavour_; }
  bool has_fixed_memory() const { return !fixed_memory_.empty(); }
  std::uint64_t unfinished() const { return in_kernel_ + waiting_.size(); }

 private:
  bool start(IoOp& op) noexcept;
  void start_waiting() noexcept;
  bool run_tasks() noexcept;
  void enter(std::chrono::nanoseconds patience) noexcept;
  void reap() noexcept;
  void dispatch(std::uint64_t data, int result, bool more) noexcept;
  void stop_reading() noexcept;
  void complete(IoOp& op, int result) noexcept;
  void prepare(io_uring_sqe& sqe, IoOp& op) const noexcept;
  void prepare_transfer(io_uring_sqe& sqe, IoOp& op) const noexcept;
  bool in_fixed_memory(const std::byte* buffer, std::uint64_t bytes) const noexcept;
  io_uring_sqe* next_sqe() noexcept;
  io_uring_sqe& certain_sqe() noexcept;

  Mailbox mailbox_;
  Watch mailbox_watch_;
  std::thread::id owner_ = std::this_thread::get_id();
  io_uring ring_ = {};
  bool open_ = false;
  UringFlavour flavour_ = UringFlavour::plain;
  std::span<std::byte> fixed_memory_;
  std::uint32_t in_kernel_max_ = 0;
  std::uint32_t in_kernel_ = 0;
  StreamRead* reading_ = nullptr;  // in the kernel
  bool write_waits_ = false;       // for the next enter()
  alignas(8) std::array<std::byte, kStreamWriteBytesMax> written_ = {};
  std::size_t written_bytes_ = 0;
  // In the order of submission; these have no SQE yet.
  boost::intrusive::list<IoOp> waiting_;
  TaskList own_tasks_;
};

Expected<std::unique_ptr<UringEngine>> UringEngine::make(const UringOptions& options) {
  auto mailbox = Mailbox::make();
  if (!mailbox) return std::unexpected(std::move(mailbox.error()));
  auto impl = std::make_unique<Impl>(std::move(*mailbox));
  const int result = impl->open(options);
  if (result == -ENOSYS || result == -EPERM) {
    return fail(Errc::unavailable, "io_uring is not there or is forbidden on this system", -result);
  }
  if (result < 0) return fail_os(-result, "set up io_uring");
  return std::unique_ptr<UringEngine>(new UringEngine(std::move(impl)));
}

int UringEngine::Impl::open(const UringOptions& options) {
  int result = -EINVAL;
  for (const auto flavour :
       {UringFlavour::deferred, UringFlavour::cooperative, UringFlavour::plain}) {
    if (flavour < options.flavour) continue;
    io_uring_params params = {};
    params.flags = setup_flags(flavour) | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
    params.cq_entries =
        std::max(options.submission_entries * kCompletionsPerSubmission, 2 * kCompletionsReserved);
    result = io_uring_queue_init_params(options.submission_entries, &ring_, &params);
    if (result == -EINVAL) continue;  // an older kernel does not know the flag
    if (result < 0) return result;
    open_ = true;
    flavour_ = flavour;
    in_kernel_max_ = params.cq_entries - kCompletionsReserved;
    break;
  }
  if (result < 0) return result;
  if (!options.fixed_memory.empty()) {
    const iovec memory = {options.fixed_memory.data(), options.fixed_memory.size()};
    // Refused for example by RLIMIT_MEMLOCK; the operations then go without.
    if (io_uring_register_buffers(&ring_, &memory, 1) == 0) fixed_memory_ = options.fixed_memory;
  }
  // Spares each system call the look-up of the ring's descriptor; older kernels cannot.
  (void)io_uring_register_ring_fd(&ring_);
  result =
      options.restricted ? restrict_and_enable_ring(ring_.ring_fd) : enable_ring(ring_.ring_fd);
  if (result < 0) return result;
  mailbox_watch_ = {mailbox_.descriptor(), [](Watch&) noexcept {}};
  watch(mailbox_watch_);
  return 0;
}

UringEngine::Impl::~Impl() {
  assert(in_kernel_ == 0 && waiting_.empty());
  assert(own_tasks_.empty());
  if (!open_) return;
  stop_reading();
  io_uring_queue_exit(&ring_);
}

// The kernel ends what is under way only some time after the ring is closed, and the buffer is the
// caller's again before that.
void UringEngine::Impl::stop_reading() noexcept {
  if (reading_ == nullptr) return;
  io_uring_sqe& sqe = certain_sqe();
  io_uring_prep_cancel64(&sqe, tagged(reading_, kReadTag), 0);
  // An entry keeps what its last user said: it would complete an operation of long ago.
  io_uring_sqe_set_data64(&sqe, 0);
  reading_->done = [](StreamRead&, std::size_t) noexcept {};
  while (reading_ != nullptr) {
    enter(kForever);
    reap();
  }
}

void UringEngine::Impl::submit(IoOp& op) noexcept {
  assert(std::this_thread::get_id() == owner_);
  assert(op.file != nullptr && op.done != nullptr);
  // While the operation is on its way `result` counts the bytes that are done.
  op.result = 0;
  if (!waiting_.empty() || !start(op)) waiting_.push_back(op);
}

io_uring_sqe* UringEngine::Impl::next_sqe() noexcept {
  return io_uring_get_sqe(&ring_);
}

bool UringEngine::Impl::start(IoOp& op) noexcept {
  if (in_kernel_ >= in_kernel_max_) return false;
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) return false;
  prepare(*sqe, op);
  io_uring_sqe_set_data64(sqe, tagged(&op, kIoTag));
  ++in_kernel_;
  return true;
}

void UringEngine::Impl::prepare(io_uring_sqe& sqe, IoOp& op) const noexcept {
  const int descriptor = op.file->descriptor();
  const auto offset = static_cast<off_t>(op.offset);
  const auto bytes = static_cast<off_t>(op.bytes);
  switch (op.kind) {
    case IoKind::read:
    case IoKind::write:
      prepare_transfer(sqe, op);
      return;
    case IoKind::sync_data:
      io_uring_prep_fsync(&sqe, descriptor, IORING_FSYNC_DATASYNC);
      return;
    case IoKind::punch_hole:
      io_uring_prep_fallocate(&sqe, descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                              bytes);
      return;
  }
}

void UringEngine::Impl::prepare_transfer(io_uring_sqe& sqe, IoOp& op) const noexcept {
  const int descriptor = op.file->descriptor();
  const auto progress = static_cast<std::uint64_t>(op.result);
  assert(progress < op.bytes || op.bytes == 0);
  std::byte* const buffer = op.buffer + progress;
  const std::uint64_t offset = op.offset + progress;
  const auto bytes = static_cast<unsigned>(std::min(op.bytes - progress, kMaxTransferBytes));
  const bool fixed = in_fixed_memory(buffer, bytes);
  if (op.kind == IoKind::read) {
    fixed ? io_uring_prep_read_fixed(&sqe, descriptor, buffer, bytes, offset, 0)
          : io_uring_prep_read(&sqe, descriptor, buffer, bytes, offset);
  } else {
    fixed ? io_uring_prep_write_fixed(&sqe, descriptor, buffer, bytes, offset, 0)
          : io_uring_prep_write(&sqe, descriptor, buffer, bytes, offset);
  }
}

// Handing over what is queued makes room.
io_uring_sqe& UringEngine::Impl::certain_sqe() noexcept {
  io_uring_sqe* sqe = next_sqe();
  if (sqe == nullptr) {
    [[maybe_unused]] const int result = io_uring_submit(&ring_);
    sqe = next_sqe();
  }
  assert(sqe != nullptr);
  return *sqe;
}

bool UringEngine::Impl::in_fixed_memory(const std::byte* buffer,
                                        std::uint64_t bytes) const noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(fixed_memory_.data());
  const auto address = reinterpret_cast<std::uintptr_t>(buffer);
  const std::uintptr_t distance = address - begin;  // huge when the buffer lies before the memory
  return distance < fixed_memory_.size() && bytes <= fixed_memory_.size() - distance;
}

void UringEngine::Impl::post(Task& task) noexcept {
  assert(task.run != nullptr);
  if (std::this_thread::get_id() == owner_) {
    own_tasks_.push_back(task);
  } else {
    mailbox_.post(task);
  }
}

void UringEngine::Impl::turn(std::chrono::nanoseconds patience) noexcept {
  assert(std::this_thread::get_id() == owner_);
  const bool ran = run_tasks();
  start_waiting();
  const bool busy = ran || !own_tasks_.empty() || io_uring_cq_ready(&ring_) != 0;
  enter(busy ? kNoWait : patience);
  reap();
}

// True when there was one. Tasks that are posted meanwhile run in the next turn: each turn is
// bounded.
bool UringEngine::Impl::run_tasks() noexcept {
  TaskList tasks;
  tasks.swap(own_tasks_);
  if (mailbox_.may_have_mail()) mailbox_.take(tasks);
  if (tasks.empty()) return false;
  while (!tasks.empty()) {
    Task& task = tasks.front();
    tasks.pop_front();
    task.run(task);
  }
  return true;
}

void UringEngine::Impl::start_waiting() noexcept {
  while (!waiting_.empty()) {
    IoOp& op = waiting_.front();
    waiting_.pop_front();
    if (start(op)) continue;
    waiting_.push_front(op);
    // When it is the submission queue that is full, handing it over makes room; otherwise
    // operations have to complete first.
    if (in_kernel_ >= in_kernel_max_ || io_uring_submit(&ring_) <= 0) return;
  }
}

void UringEngine::Impl::enter(std::chrono::nanoseconds patience) noexcept {
  int result = 0;
  if (patience == kNoWait) {
    if (io_uring_sq_ready(&ring_) == 0) return;
    result = io_uring_submit_and_get_events(&ring_);
  } else if (patience == kForever) {
    result = io_uring_submit_and_wait(&ring_, 1);
  } else {
    const auto ns = patience.count();
    __kernel_timespec timeout = {ns / 1'000'000'000, ns % 1'000'000'000};
    io_uring_cqe* first = nullptr;
    result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
  }
  // What was not handed over stays in the submission queue for the next turn. Any other error would
  // mean that we used the ring wrongly.
  assert(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY ||
         result == -ETIME || result == -ENOMEM);
  if (io_uring_sq_ready(&ring_) == 0) write_waits_ = false;
}

void UringEngine::Impl::reap() noexcept {
  // Bounded by what can be in the queue now: completions that `done` starts belong to the next
  // turn.
  for (std::uint32_t left = in_kernel_max_ + kCompletionsReserved; left != 0; --left) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&ring_, &cqe) != 0) return;
    const std::uint64_t data = cqe->user_data;
    const int result = cqe->res;
    const bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    io_uring_cqe_seen(&ring_, cqe);
    dispatch(data, result, more);
  }
}

void UringEngine::Impl::dispatch(std::uint64_t data, int result, bool more) noexcept {
  if (data == 0) return;  // the cancelling itself
  switch (data & kTags) {
    case kIoTag:
      return complete(untagged<IoOp>(data), result);
    case kReadTag: {
      auto& read = untagged<StreamRead>(data);
      reading_ = nullptr;
      return read.done(read, result > 0 ? static_cast<std::size_t>(result) : 0);
    }
    case kWriteTag: {
      auto& writer = untagged<StreamWriter>(data);
      return writer.failed(writer, std::span(written_).first(written_bytes_));
    }
    default:
      break;
  }
  auto& watched = untagged<Watch>(data);
  // Armed again before it is read: what comes in between is then reported. A descriptor that cannot
  // be watched at all is not tried again.
  if (!more && result >= 0) watch(watched);
  watched.ready(watched);
}

void UringEngine::Impl::complete(IoOp& op, int result) noexcept {
  assert(in_kernel_ != 0);
  --in_kernel_;
  if (result == -EINTR || result == -EAGAIN) {
    waiting_.push_back(op);
    return;
  }
  if (result < 0) {
    op.result = result;
  } else if (!is_transfer(op.kind)) {
    op.result = op.kind == IoKind::sync_data ? 0 : static_cast<std::int64_t>(op.bytes);
  } else if (result == 0 && op.kind == IoKind::write && op.bytes != 0) {
    op.result = -EIO;  // a write that makes no progress would be repeated for ever
  } else {
    op.result += result;
    const bool end_of_file = result == 0;
    if (!end_of_file && static_cast<std::uint64_t>(op.result) < op.bytes) {
      waiting_.push_back(op);
      return;
    }
  }
  op.done(op);
}

void UringEngine::Impl::watch(Watch& watched) noexcept {
  assert(watched.descriptor >= 0 && watched.ready != nullptr);
  io_uring_sqe& sqe = certain_sqe();
  io_uring_prep_poll_multishot(&sqe, watched.descriptor, POLLIN);
  io_uring_sqe_set_data64(&sqe, tagged(&watched, kWatchTag));
}

void UringEngine::Impl::read(StreamRead& read) noexcept {
  assert(reading_ == nullptr && read.done != nullptr);
  io_uring_sqe& sqe = certain_sqe();
  io_uring_prep_read(&sqe, read.descriptor, read.buffer.data(),
                     static_cast<unsigned>(read.buffer.size()), 0);
  io_uring_sqe_set_data64(&sqe, tagged(&read, kReadTag));
  reading_ = &read;
}

bool UringEngine::Impl::write(StreamWriter& writer, std::span<const std::byte> bytes) noexcept {
  assert(writer.failed != nullptr);
  // A completion of its own would wake us for nothing.
  const bool quiet = (ring_.features & IORING_FEAT_CQE_SKIP) != 0;
  if (!quiet || write_waits_ || bytes.size() > written_.size()) return false;
  io_uring_sqe* const sqe = next_sqe();
  if (sqe == nullptr) return false;
  std::ranges::copy(bytes, written_.begin());
  written_bytes_ = bytes.size();
  io_uring_prep_write(sqe, writer.descriptor, written_.data(), static_cast<unsigned>(bytes.size()),
                      0);
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(sqe, tagged(&writer, kWriteTag));
  write_waits_ = true;
  return true;
}

UringEngine::UringEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UringEngine::~UringEngine() = default;
void UringEngine::submit(IoOp& op) noexcept {
  impl_->submit(op);
}
void UringEngine::post(Task& task) noexcept {
  impl_->post(task);
}
void UringEngine::turn(std::chrono::nanoseconds patience) noexcept {
  impl_->turn(patience);
}
void UringEngine::watch(Watch& watch) noexcept {
  impl_->watch(watch);
}
void UringEngine::read(StreamRead& read) noexcept {
  impl_->read(read);
}
bool UringEngine::write(StreamWriter& writer, std::span<const std::byte> bytes) noexcept {
  return impl_->write(writer, bytes);
}
UringFlavour UringEngine::flavour() const {
  return impl_->flavour();
}
bool UringEngine::has_fixed_memory() const {
  return impl_->has_fixed_memory();
}
std::uint64_t UringEngine::unfinished() const {
  return impl_->unfinished();
}

}  // namespace xenblk::ringio
