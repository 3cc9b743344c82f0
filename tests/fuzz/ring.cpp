// A worker's loop, without its thread, serving one guest whose ring, tables of segments and grants
// come from the input. Most of each request is right, so that what is wrong in it is met deep
// inside.
#include <poll.h>

#include <algorithm>
#include <array>
#include <memory>

#include "backend/platform/loopback/frontend_ring.h"
#include "backend/platform/loopback/loopback_xen.h"
#include "ringio/buffer_pool.h"
#include "ringio/worker_core.h"
#include "tests/fuzz/reader.h"
#include "tests/ringio/memory_image.h"

namespace xenblk::fuzz {
namespace {

using loopback::FrontendRequest;
using loopback::FrontendRing;

constexpr DomainId kGuest{7};
constexpr DomainId kBackend{0};
constexpr std::uint32_t kPages = 12;
constexpr std::uint64_t kSectors = 512;

class StandingClock final : public Clock {
 public:
  Instant now() const noexcept override { return now_; }
  void advance(std::chrono::nanoseconds time) {
    now_.ns += static_cast<std::uint64_t>(time.count());
  }

 private:
  Instant now_{1'000'000'000};
};

// Runs tasks, and time goes on when there are none.
class TaskEngine final : public ringio::LoopEngine {
 public:
  explicit TaskEngine(StandingClock& clock) : clock_(clock) {}
  void submit(IoOp&) noexcept override { broken("an image in memory has no files", "", 0); }
  void post(Task& task) noexcept override { tasks_.push_back(task); }
  void turn(std::chrono::nanoseconds patience) noexcept override {
    TaskList now;
    now.swap(tasks_);
    if (now.empty()) clock_.advance(std::min(patience, std::chrono::nanoseconds(1'000'000)));
    while (!now.empty()) {
      auto& task = now.front();
      now.pop_front();
      task.run(task);
    }
  }

 private:
  StandingClock& clock_;
  TaskList tasks_;
};

// Between a request's being taken and its data being copied the guest writes into its slot.
class ChangingGrants final : public GrantTable {
 public:
  explicit ChangingGrants(std::unique_ptr<GrantTable> real) : real_(std::move(real)) {}
  Expected<GrantMapping> map(DomainId peer, std::span<const GrantRef> refs,
                             Access access) override {
    return real_->map(peer, refs, access);
  }
  void copy(DomainId peer, std::span<GrantCopy> segments, CopyDirection direction) override {
    FUZZ_EXPECT(peer == kGuest);
    for (auto& byte : change) byte ^= std::byte{0x5a};
    for (const auto& segment : segments) {
      FUZZ_EXPECT(segment.bytes > 0 && segment.offset + segment.bytes <= kPageBytes);
      // Tables of segments come in any length; data moves in sectors.
      if (direction == CopyDirection::from_guest) continue;
      FUZZ_EXPECT(segment.offset % kSectorBytes == 0 && segment.bytes % kSectorBytes == 0);
    }
    real_->copy(peer, segments, direction);
  }
  std::span<std::byte> change;

 private:
  void unmap(std::byte*, std::size_t) noexcept override {}
  std::unique_ptr<GrantTable> real_;
};

std::span<std::byte> arena() {
  static auto memory = std::move(*ringio::Arena::make(std::size_t{2} << 20));
  return memory.memory();
}

class Fuzzed {
 public:
  explicit Fuzzed(Reader& input)
      : input_(input), pages_(domain_->allocate_pages(kPages)), ring_(make_ring()) {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      const auto access = page % 4 == 0 ? Access::read_only : Access::read_write;
      grants_[page] = domain_->grant(pages_.data() + page * kPageBytes, kBackend, access);
    }
    connect();
  }

  void run() {
    while (!input_.empty() && served_) step();
    if (!served_) return;
    // What the guest did to itself is its own matter; what was intact must have been answered.
    settle();
    bool gone = false;
    core_.disconnect(queue_, [&] { gone = true; });
    settle();
    FUZZ_EXPECT(gone);
    FUZZ_EXPECT(core_.counters().slots_in_use.get() == 0);
    FUZZ_EXPECT(core_.counters().queues.get() == 0);
    FUZZ_EXPECT(xen_.usage().nothing_held());
    if (!harmed_) {
      while (ring_.take_response()) {
      }
      FUZZ_EXPECT(!ring_.violation());
      FUZZ_EXPECT(ring_.outstanding() == 0);
    }
  }

 private:
  FrontendRing make_ring() {
    constexpr std::array kLayouts{blkif::Layout::native, blkif::Layout::x86_32,
                                  blkif::Layout::x86_64};
    const auto layout = kLayouts[input_.below(3)];
    return FrontendRing(domain_, kBackend, layout, 1U << input_.below(2));
  }

  void connect() {
    const auto flags = input_.u8();
    ringio::QueueSetup setup{
        .peer = kGuest,
        .layout = ring_.layout(),
        .ring_refs = ring_.refs(),
        .remote_port = port_->port(),
        .image = image_,
        .access = (flags & 1) != 0 ? Access::read_only : Access::read_write,
        .logical_sector_bytes = (flags & 2) != 0 ? kPageBytes : kSectorBytes,
        .offer_discard = (flags & 4) == 0,
        .persistent_grants = (flags & 8) != 0,
        .indirect_segments_max = (flags & 16) != 0 ? 0U : 1U << input_.below(12),
        .counters = {},
        .notice = {}};
    auto connected = core_.connect(std::move(setup));
    served_ = connected.has_value();
    FUZZ_EXPECT(served_);
    queue_ = *connected;
  }

  void step() {
    using Ring = blkif::RingOffsets;
    const auto what = input_.u8();
    switch (what % 16) {
      case 0:
        return harm(Ring::rsp_prod);
      case 1:
        return harm(Ring::req_event);
      case 2:
        if (what < 32) harm(Ring::req_prod);
        return;
      case 3: {
        const auto i = input_.below(kPages);
        if (domain_->revoke(grants_[i]) == loopback::Revoked::ended) {
          grants_[i] = domain_->grant(pages_.data(), kBackend, Access::read_only);
        }
        return;
      }
      case 4:
        return write_table();
      case 5: {  // any bytes as a request
        if (ring_.room() == 0) return;
        std::array<std::byte, blkif::kMaxSlotBytes> slot = {};
        const auto bytes = input_.bytes(slot.size());
        std::ranges::transform(bytes, slot.begin(), [](auto byte) { return std::byte{byte}; });
        ring_.put_bytes({slot.data(), blkif::offsets(ring_.layout()).slot});
        return;
      }
      case 6:
        harmed_ = true;
        grants_of_core_.change = ring_.memory().subspan(
            Ring::slots + input_.below(blkif::offsets(ring_.layout()).slot * 4ULL), 4);
        return;
      case 7:
        grants_of_core_.change = {};
        image_->fail_next(IoStatus::io_error);
        return;
      case 8:
      case 9:
        return pass();
      default:
        if (ring_.room() > 0) ring_.put(request());
        return;
    }
  }

  void harm(std::size_t index) {
    harmed_ = true;
    ring_.store_index(index, ring_.load_index(index) + input_.u32());
  }

  GrantRef grant() {
    const auto which = input_.u8();
    if (which < kPages * 16) return grants_[which % kPages];
    const GrantRef ref = which % 2 == 0 ? ring_.refs().front() : GrantRef{input_.u32()};
    // A disk's content may go into the ring itself.
    if (ref == ring_.refs().front()) harmed_ = true;
    return ref;
  }

  // Mostly a segment that can be served.
  loopback::FrontendSegment segment() {
    const auto sectors = input_.u8();
    if (sectors >= 0xf8) return {grant(), input_.u8(), input_.u8()};
    const auto first = static_cast<std::uint8_t>(sectors % 8);
    return {grant(), first, static_cast<std::uint8_t>(first + sectors / 8 % (8 - first))};
  }

  FrontendRequest request() {
    const auto kind = input_.u8();
    FrontendRequest request{.op = static_cast<std::uint8_t>(kind % 7), .id = next_id_++};
    if (kind >= 0xf0) request.op = input_.u8();
    request.sector = {kind % 32 == 31 ? input_.u64() : input_.below(kSectors)};
    if (request.op == loopback::wire(blkif::Op::discard)) {
      request.discard_count = {kind % 16 == 15 ? input_.u64() : input_.below(kSectors)};
    } else if (request.op == loopback::wire(blkif::Op::indirect)) {
      request.indirect_op = static_cast<std::uint8_t>(kind >= 0xe0 ? input_.u8() : kind % 2);
      request.indirect_segment_count =
          kind >= 0xd0 ? input_.u16() : static_cast<std::uint16_t>(1 + input_.below(16));
      for (auto& ref : request.indirect_refs) ref = grant();
    } else {
      for (auto count = input_.below(12); count > 0; --count) {
        request.segments.push_back(segment());
      }
      if (kind >= 0xe8) request.segment_count_override = input_.u8();
    }
    return request;
  }

  void write_table() {
    const auto page = pages_.subspan(input_.below(kPages) * kPageBytes, kPageBytes);
    for (std::size_t at = 0, count = input_.below(40); count > 0; --count, at += 8) {
      std::ranges::copy(loopback::encode(segment()), page.begin() + static_cast<long>(at));
    }
  }

  void pass() {
    if (ring_.publish()) port_->notify();
    one_pass();
    if (harmed_) return;
    while (ring_.take_response()) {
    }
    FUZZ_EXPECT(!ring_.violation());
  }
  void one_pass() {
    pollfd events = {channels_->fd(), POLLIN, 0};
    if (::poll(&events, 1, 0) == 1) core_.events_signalled();
    core_.pass(ringio::LoopEngine::kForever);
  }
  // More passes than a ring of 64 slots can need, each of which may be a barrier that has to wait
  // for the one before it.
  void settle() {
    ring_.publish();
    port_->notify();
    for (int i = 0; i < 100; ++i) {
      clock_.advance(std::chrono::seconds(1));
      one_pass();
    }
  }

  Reader& input_;
  loopback::LoopbackXen xen_;
  std::shared_ptr<loopback::GuestDomain> domain_ = xen_.create_domain(kGuest, 64);
  std::unique_ptr<EventChannels> channels_ = std::move(*xen_.host().open_event_channels());
  ChangingGrants grants_of_core_{std::move(*xen_.host().open_grant_table())};
  StandingClock clock_;
  TaskEngine engine_{clock_};
  ringio::WorkerCore core_{{.engine = engine_,
                            .channels = *channels_,
                            .grants = grants_of_core_,
                            .clock = clock_,
                            .arena = arena(),
                            .request_slots = 16,
                            .polling = {}}};
  std::shared_ptr<ringio::test::MemoryImage> image_ =
      std::make_shared<ringio::test::MemoryImage>(SectorCount{kSectors});
  std::span<std::byte> pages_;
  FrontendRing ring_;
  std::unique_ptr<loopback::GuestPort> port_ = domain_->allocate_port(kBackend);
  std::array<GrantRef, kPages> grants_ = {};
  ringio::QueueId queue_;
  std::uint64_t next_id_ = 1;
  bool served_ = false;
  bool harmed_ = false;  // the guest wrote where only the backend may, or where it was done writing
};

}  // namespace

void ring(Input input) {
  Reader reader(input);
  Fuzzed(reader).run();
}

}  // namespace xenblk::fuzz
