// Requests that are wrong, one kind a test: each is answered with the right status, does nothing to
// the image or to anybody else, and the queue serves the next request as if nothing had been.
#include <gtest/gtest.h>

#include <random>

#include "tests/ringio/core_world.h"
#include "tests/rounds.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;

class HostileRequest : public OneQueue {
 protected:
  void SetUp() override { connect(); }

  void expect_refused(const FrontendRequest& request, Status status, Trouble trouble) {
    const auto before = world.image->log().size();
    const auto counted = (*queue.counters)[trouble].get();
    EXPECT_EQ(world.status(queue, request), status);
    EXPECT_EQ((*queue.counters)[trouble].get(), counted + 1) << describe(trouble);
    EXPECT_EQ(world.image->log().size(), before) << "the image was asked";
    expect_alive();
  }
  FrontendRequest raw(std::uint8_t op) {
    auto request = queue.read(0, page.ref);
    request.op = op;
    return request;
  }
};
XENBLK_FOR_ALL_LAYOUTS(HostileRequest);

// --- operations ---
TEST_P(HostileRequest, UnknownOperationsAreNotSupported) {
  for (int op = 7; op < 256; ++op) {
    EXPECT_EQ(world.ask(queue, raw(static_cast<std::uint8_t>(op))).op, op);
  }
  EXPECT_EQ((*queue.counters)[Trouble::unknown_operation].get(), 249U);
  expect_refused(raw(255), Status::eopnotsupp, Trouble::unknown_operation);
  expect_refused(raw(4), Status::eopnotsupp, Trouble::not_offered);
}
TEST_P(HostileRequest, IndirectRequestsAreNotSupported) {
  for (const int count : {0, 1, 512, 65535}) {
    auto request = raw(wire(Op::indirect));
    request.indirect_op = wire(Op::write);
    request.indirect_segment_count = static_cast<std::uint16_t>(count);
    request.indirect_refs.fill(page.ref);
    expect_refused(request, Status::eopnotsupp, Trouble::not_offered);
  }
}

// --- number of segments ---
TEST_P(HostileRequest, ImpossibleNumbersOfSegmentsAreRefused) {
  for (const auto op : {Op::read, Op::write, Op::write_barrier, Op::flush_diskcache}) {
    for (const int count : {0, 12, 255}) {
      if (count == 0 && op != Op::read && op != Op::write) continue;
      auto request = raw(wire(op));
      request.segment_count_override = count;
      expect_refused(request, Status::error, Trouble::segment_count);
    }
  }
}

// --- sectors of a segment ---
TEST_P(HostileRequest, SegmentsOutsideTheirPageAreRefused) {
  for (const auto& [first, last] : {std::pair{0, 8}, {0, 255}, {255, 255}, {7, 6}, {255, 0}}) {
    auto request = raw(wire(Op::write));
    request.segments[0].first_sector = static_cast<std::uint8_t>(first);
    request.segments[0].last_sector = static_cast<std::uint8_t>(last);
    expect_refused(request, Status::error, Trouble::segment_sectors);
  }
}

// --- range on the disk ---
TEST_P(HostileRequest, PlacesBeyondTheEndAreRefused) {
  for (const std::uint64_t sector :
       {std::uint64_t{4089}, std::uint64_t{4096}, std::uint64_t{1} << 55, ~std::uint64_t{0},
        ~std::uint64_t{0} - 6}) {
    expect_refused(queue.read(sector, page.ref), Status::error, Trouble::out_of_range);
    expect_refused(queue.write(sector, page.ref), Status::error, Trouble::out_of_range);
  }
}
TEST_P(HostileRequest, DiscardsBeyondTheEndAreRefused) {
  for (const auto& [sector, count] :
       {std::pair{std::uint64_t{0}, ~std::uint64_t{0}}, {1, 4096}, {~std::uint64_t{0}, 2}}) {
    auto request = raw(wire(Op::discard));
    request.sector = {sector};
    request.discard_count = {count};
    expect_refused(request, Status::error, Trouble::out_of_range);
  }
}

// --- handle ---
TEST_P(HostileRequest, TheHandleMeansNothing) {
  auto request = queue.read(0, page.ref);
  request.handle = 0xffff;
  EXPECT_EQ(world.status(queue, request), Status::okay);
}

// --- grant references ---
TEST_P(HostileRequest, ReferencesThatWereNeverGrantedFailTheirRequestOnly) {
  for (const std::uint32_t ref : {0U, 1U, 32767U, 32768U, 0x7fff'ffffU, 0xffff'ffffU}) {
    EXPECT_EQ(world.status(queue, queue.read(0, {ref})), Status::error);
    EXPECT_EQ(world.status(queue, queue.write(0, {ref})), Status::error);
    expect_alive();
  }
  EXPECT_EQ((*queue.counters)[Trouble::grant_copy_failed].get(), 12U);
}
TEST_P(HostileRequest, AReadIntoAReadOnlyPageFails) {
  const auto read_only = queue.page(Access::read_only, std::byte{0x11});
  world.image->fill(std::byte{0x22});
  EXPECT_EQ(world.status(queue, queue.read(0, read_only.ref)), Status::error);
  EXPECT_EQ(read_only.memory[0], std::byte{0x11});
}
TEST_P(HostileRequest, AWriteFromAReadOnlyPageWorks) {
  const auto read_only = queue.page(Access::read_only, std::byte{0x11});
  EXPECT_EQ(world.status(queue, queue.write(8, read_only.ref)), Status::okay);
  EXPECT_EQ(world.image->sectors(8, 8)[0], std::byte{0x11});
}
TEST_P(HostileRequest, ARevokedReferenceFails) {
  const auto revoked = queue.page();
  ASSERT_EQ(domain->revoke(revoked.ref), loopback::Revoked::ended);
  EXPECT_EQ(world.status(queue, queue.write(0, revoked.ref)), Status::error);
  EXPECT_EQ(world.image->log().size(), 0U);
}
TEST_P(HostileRequest, AReferenceRevokedWhileTheImageWorksFails) {
  const auto revoked = queue.page();
  world.image->hold();
  queue.send(queue.read(0, revoked.ref));
  world.settle();
  ASSERT_EQ(domain->revoke(revoked.ref), loopback::Revoked::ended) << "nothing stays mapped";
  world.image->release_all();
  world.settle();
  const auto responses = queue.take();
  ASSERT_EQ(responses.size(), 1U);
  EXPECT_EQ(responses[0].status, Status::error);
  expect_alive();
}
TEST_P(HostileRequest, APageGrantedToAnotherDomainFails) {
  const auto memory = domain->allocate_pages(1);
  const GrantRef ref = domain->grant(memory.data(), {3}, Access::read_write);
  EXPECT_EQ(world.status(queue, queue.read(0, ref)), Status::error);
  expect_alive();
}
TEST_P(HostileRequest, TheSamePageTwiceIsTheGuestsOwnMatter) {
  world.image->fill(std::byte{0x33});
  const auto request = queue.transfer(Op::read, 0, {{page.ref}, {page.ref}, {page.ref}});
  EXPECT_EQ(world.status(queue, request), Status::okay);
  EXPECT_EQ(page.memory[4095], std::byte{0x33});
}
TEST_P(HostileRequest, ThePageOfTheRingAsDataHurtsNobodyElse) {
  EXPECT_EQ(world.status(queue, queue.write(0, queue.ring.refs()[0])), Status::okay);
  // Overwrites the guest's own ring, indices included.
  world.image->fill(std::byte{0xff});
  queue.send(queue.read(0, queue.ring.refs()[0]));
  world.settle();
  GuestQueue other(domain, GetParam());
  world.connect(other);
  EXPECT_EQ(world.status(other, other.read(0, page.ref)), Status::okay);
}
TEST_P(HostileRequest, OneBadSegmentFailsAllOfItsRequestAndNoOther) {
  const auto good = queue.page(Access::read_write, std::byte{0x44});
  auto bad = queue.transfer(Op::write, 0, {});
  for (int i = 0; i < 11; ++i) bad.segments.push_back({i == 6 ? GrantRef{31000} : good.ref});
  const auto bad_id = queue.put(bad);
  const auto good_id = queue.put(queue.write(100, good.ref));
  queue.push();
  world.settle();
  const auto responses = queue.take();
  ASSERT_EQ(responses.size(), 2U);
  for (const auto& response : responses) {
    EXPECT_TRUE(response.id == bad_id || response.id == good_id);
    EXPECT_EQ(response.status, response.id == bad_id ? Status::error : Status::okay);
  }
  EXPECT_EQ(world.image->sectors(0, 1)[0], std::byte{0});
  EXPECT_EQ(world.image->sectors(100, 1)[0], std::byte{0x44});
}
TEST_P(HostileRequest, EveryStatusOfACopyIsAnErrorForTheGuest) {
  for (const auto status : {CopyStatus::bad_ref, CopyStatus::permission, CopyStatus::bad_range,
                            CopyStatus::again, CopyStatus::failed}) {
    world.xen.faults().copy_refusal = status;
    world.xen.faults().refuse_copy.set(1);
    EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), Status::error);
    expect_alive();
  }
}
TEST_P(HostileRequest, AnotherGuestsBadSegmentIsNoneOfOurBusiness) {
  GuestQueue other(world.xen.create_domain({8}), GetParam());
  world.connect(other);
  const auto theirs = other.page(Access::read_write, std::byte{0x55});
  for (int i = 0; i < 8; ++i) queue.put(queue.write(0, {31000}));
  for (std::uint64_t i = 0; i < 8; ++i) other.put(other.write(100 + i * 8, theirs.ref));
  queue.push();
  other.push();
  world.settle();
  for (const auto& response : queue.take()) EXPECT_EQ(response.status, Status::error);
  for (const auto& response : other.take()) EXPECT_EQ(response.status, Status::okay);
}

// --- what was in a buffer before ---
TEST_P(HostileRequest, AFailedReadShowsNobodysData) {
  const auto secret = queue.page(Access::read_write, std::byte{0x5e});
  EXPECT_EQ(world.status(queue, queue.write(0, secret.ref)), Status::okay);
  GuestQueue other(world.xen.create_domain({8}), GetParam());
  world.connect(other);
  const auto spied = other.page(Access::read_write, std::byte{0x01});
  world.image->fail_next(IoStatus::io_error);
  EXPECT_EQ(world.status(other, other.read(8, spied.ref)), Status::error);
  EXPECT_TRUE(std::ranges::all_of(spied.memory, [](auto b) { return b == std::byte{0x01}; }));
}
TEST_P(HostileRequest, OnlyTheSectorsOfASegmentAreWritten) {
  world.image->fill(std::byte{0x66});
  const auto target = queue.page(Access::read_write, std::byte{0x01});
  const auto request = queue.transfer(Op::read, 0, {{target.ref, 2, 3}});
  EXPECT_EQ(world.status(queue, request), Status::okay);
  for (std::size_t i = 0; i < kPageBytes; ++i) {
    const bool read = i >= 1024 && i < 2048;
    ASSERT_EQ(target.memory[i], std::byte(read ? 0x66 : 0x01)) << i;
  }
}

// --- what the image says ---
TEST_P(HostileRequest, FailuresOfTheImageReachTheGuest) {
  for (const auto& [failure, status] : {std::pair{IoStatus::io_error, Status::error},
                                        {IoStatus::no_space, Status::error},
                                        {IoStatus::read_only, Status::error},
                                        {IoStatus::unsupported, Status::eopnotsupp}}) {
    world.image->fail_next(failure);
    EXPECT_EQ(world.status(queue, queue.write(0, page.ref)), status);
    expect_alive();
  }
}

// --- log lines ---
TEST_P(HostileRequest, OnlyTheFirstOfAKindIsReported) {
  for (int i = 0; i < 100; ++i) {
    world.status(queue, raw(200));
    world.status(queue, queue.read(99999, page.ref));
    world.status(queue, queue.read(0, {31000}));
  }
  ASSERT_EQ(notices.size(), 3U);
  EXPECT_EQ(notices[0].trouble, Trouble::unknown_operation);
  EXPECT_EQ(notices[0].detail, 200U);
  EXPECT_EQ(notices[1].trouble, Trouble::out_of_range);
  EXPECT_EQ(notices[2].trouble, Trouble::grant_copy_failed);
  EXPECT_EQ(notices[2].detail, 31000U);
}

// --- very many of them ---
TEST_P(HostileRequest, AHundredThousandBadRequestsLeaveNothingBehind) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::uint64_t answers = 0;
  const int rounds = xenblk::test::single_threaded_rounds(100'000 / 32);
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 32; ++i) {
      auto request = queue.transfer(static_cast<Op>(random() % 6), random() % 8192, {});
      request.discard_count = {random() % 8192};
      for (auto n = random() % 12; n != 0; --n) {
        const auto last = static_cast<std::uint8_t>(random() % 10);
        // Never the ring's own page: the guest would only confuse itself.
        const auto ref =
            static_cast<std::uint32_t>(random() % 4 == 0 ? page.ref.n : random() | 100);
        request.segments.push_back({{ref}, 0, last});
      }
      queue.put(request);
    }
    queue.push();
    world.settle();
    answers += queue.take().size();
    ASSERT_EQ(queue.ring.outstanding(), 0U);
  }
  EXPECT_EQ(answers, static_cast<std::uint64_t>(rounds) * 32U);
  EXPECT_EQ(world.core->counters().slots_in_use.get(), 0U);
  EXPECT_EQ(queue.counters->in_flight.get(), 0U);
  EXPECT_LE(notices.size(), kTroubleKinds);
  EXPECT_EQ(world.xen.usage().mapped_pages, 1U);
}

// --- a disk that must not be changed ---
class ReadOnlyDisk : public OneQueue {
 protected:
  void SetUp() override {
    auto setup = queue.setup(world.image);
    setup.access = Access::read_only;
    world.connect(std::move(setup));
  }
};
XENBLK_FOR_ALL_LAYOUTS(ReadOnlyDisk);

TEST_P(ReadOnlyDisk, RefusesEveryChange) {
  for (const auto op : {Op::write, Op::write_barrier, Op::flush_diskcache}) {
    EXPECT_EQ(world.status(queue, queue.transfer(op, 0, {{page.ref}})), Status::error);
  }
  auto discard = queue.transfer(Op::discard, 0, {});
  discard.discard_count = {8};
  EXPECT_EQ(world.status(queue, discard), Status::error);
  EXPECT_TRUE(world.image->log().empty());
  EXPECT_EQ((*queue.counters)[Trouble::read_only_disk].get(), 4U);
}
TEST_P(ReadOnlyDisk, ServesReadsAndEmptyFlushes) {
  expect_alive();
  EXPECT_EQ(world.status(queue, queue.transfer(Op::flush_diskcache, 0, {})), Status::okay);
  EXPECT_EQ(world.status(queue, queue.transfer(Op::write_barrier, 0, {})), Status::okay);
}

// --- logical sectors of 4 KiB ---
class LargeSectors : public OneQueue {
 protected:
  void SetUp() override {
    auto setup = queue.setup(world.image);
    setup.logical_sector_bytes = 4096;
    world.connect(std::move(setup));
  }
};
XENBLK_FOR_ALL_LAYOUTS(LargeSectors);

TEST_P(LargeSectors, RefuseWhatIsNotAligned) {
  expect_alive();
  EXPECT_EQ(world.status(queue, queue.read(4, page.ref)), Status::error);
  EXPECT_EQ(world.status(queue, queue.transfer(Op::read, 0, {{page.ref, 0, 3}})), Status::error);
  EXPECT_EQ((*queue.counters)[Trouble::misaligned].get(), 2U);
}

}  // namespace
}  // namespace xenblk::ringio::test
