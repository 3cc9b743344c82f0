// The guest's end of a ring: its layouts, and each of its checks shown to fail on a faulty backend.
#include "backend/platform/loopback/frontend_ring.h"

#include <gtest/gtest.h>

#include <cstring>

#include "backend/platform/loopback/loopback_xen.h"

namespace xenblk::loopback {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

class FrontendRingTest : public testing::Test {
 protected:
  // The backend's end, as simple as it can be: writes what a test says, into the shared pages.
  std::byte* slot(std::uint32_t index) {
    const auto stride = blkif::offsets(ring_.layout()).slot;
    return mapping_.address() + blkif::RingOffsets::slots + index * stride;
  }
  void answer(std::uint32_t index, RingResponse response) {
    std::memcpy(slot(index), &response.id, 8);
    slot(index)[8] = std::byte{response.op};
    std::memcpy(slot(index) + 10, &response.status, 2);
    ring_.store_index(blkif::RingOffsets::rsp_prod, index + 1);
  }
  void ask(std::uint64_t id, Op op = Op::read) {
    ring_.put({.op = wire(op), .id = id, .indirect_op = wire(Op::write)});
    ring_.publish();
  }
  std::string violation() {
    while (ring_.take_response()) {
    }
    return ring_.violation().value_or("");
  }

  LoopbackXen xen_;
  std::shared_ptr<GuestDomain> guest_ = xen_.create_domain({7});
  FrontendRing ring_{guest_, {0}, Layout::x86_64, 2};
  std::unique_ptr<GrantTable> table_ = xen_.host().open_grant_table().value();
  GrantMapping mapping_ = table_->map({7}, ring_.refs(), Access::read_write).value();
};

TEST_F(FrontendRingTest, ShowsARequestToTheBackend) {
  ring_.put({.op = wire(Op::write),
             .id = 0x1122334455667788,
             .sector = {9},
             .handle = 3,
             .segments = {{{77}, 1, 6}}});
  EXPECT_EQ(ring_.load_index(blkif::RingOffsets::req_prod), 0U);
  EXPECT_TRUE(ring_.publish());
  EXPECT_EQ(ring_.load_index(blkif::RingOffsets::req_prod), 1U);
  const auto at = blkif::kSlotX86_64;
  EXPECT_EQ(slot(0)[at.operation], std::byte{1});
  EXPECT_EQ(slot(0)[at.nr_segments], std::byte{1});
  EXPECT_EQ(slot(0)[at.id], std::byte{0x88});
  EXPECT_EQ(slot(0)[at.sector_number], std::byte{9});
  EXPECT_EQ(slot(0)[at.seg], std::byte{77});
  EXPECT_EQ(slot(0)[at.seg + 5], std::byte{6});
}

TEST_F(FrontendRingTest, TakesAResponse) {
  ask(5);
  answer(0, {5, wire(Op::read), Status::error});
  EXPECT_EQ(ring_.take_response(), (RingResponse{5, wire(Op::read), Status::error}));
  EXPECT_EQ(ring_.take_response(), std::nullopt);
  EXPECT_EQ(ring_.outstanding(), 0U);
  EXPECT_FALSE(ring_.violation());
}

TEST_F(FrontendRingTest, NotifiesOnlyWhenTheBackendAskedForIt) {
  ask(1);
  ring_.put({.id = 2});
  EXPECT_FALSE(ring_.publish());
  ring_.store_index(blkif::RingOffsets::req_event, 3);
  ring_.put({.id = 3});
  EXPECT_TRUE(ring_.publish());
}

TEST_F(FrontendRingTest, SeesResponsesThatCameBeforeItArmed) {
  EXPECT_FALSE(ring_.arm());
  ask(1);
  answer(0, {1, 0, Status::okay});
  EXPECT_TRUE(ring_.arm());
}

TEST_F(FrontendRingTest, ExpectsTheInnerOperationOfAnIndirectRequest) {
  ask(5, Op::indirect);
  answer(0, {5, wire(Op::write), Status::okay});
  EXPECT_TRUE(ring_.take_response().has_value());
}

TEST_F(FrontendRingTest, CatchesAnUnknownId) {
  ask(5);
  answer(0, {6, wire(Op::read), Status::okay});
  EXPECT_EQ(violation(), "response has id 6, which is not pending");
}

TEST_F(FrontendRingTest, CatchesASecondAnswer) {
  ask(5);
  ask(6);
  answer(0, {5, wire(Op::read), Status::okay});
  answer(1, {5, wire(Op::read), Status::okay});
  EXPECT_EQ(violation(), "response has id 5, which is not pending");
}

TEST_F(FrontendRingTest, CatchesAWrongOperation) {
  ask(5, Op::indirect);
  answer(0, {5, wire(Op::indirect), Status::okay});
  EXPECT_EQ(violation(), "response to id 5 has operation 6 instead of 1");
}

TEST_F(FrontendRingTest, CatchesMoreResponsesThanRequests) {
  ask(5);
  ring_.store_index(blkif::RingOffsets::rsp_prod, 2);
  EXPECT_EQ(violation(), "rsp_prod is 1 beyond the 1 requests that were published");
}

TEST_F(FrontendRingTest, CatchesAResponseProducerThatWentBack) {
  ask(5);
  ring_.store_index(blkif::RingOffsets::rsp_prod, 0xffffffff);
  EXPECT_EQ(violation(), "rsp_prod is 4294967294 beyond the 1 requests that were published");
}

TEST_F(FrontendRingTest, CatchesAChangedPaddingByte) {
  for (const std::size_t byte : {9U, 12U, 15U, 111U}) {
    FrontendRing fresh(guest_, {0}, Layout::x86_64, 1);
    fresh.put({.id = 1});
    fresh.publish();
    fresh.memory()[blkif::RingOffsets::slots] = std::byte{1};
    for (std::size_t i = 1; i < 12; ++i) fresh.memory()[blkif::RingOffsets::slots + i] = {};
    fresh.memory()[blkif::RingOffsets::slots + byte] = std::byte{0xee};
    fresh.store_index(blkif::RingOffsets::rsp_prod, 1);
    EXPECT_EQ(fresh.take_response(), std::nullopt);
    EXPECT_EQ(fresh.violation().value_or(""),
              "byte " + std::to_string(byte) + " of response 0 is no part of it but was changed");
  }
}

TEST_F(FrontendRingTest, KeepsPagesThatAreStillMapped) {
  auto other = std::make_unique<FrontendRing>(guest_, DomainId{0}, Layout::x86_32, 16);
  const auto mapping = table_->map({7}, other->refs(), Access::read_write).value();
  const auto before = guest_->grants_in_force();
  other.reset();
  EXPECT_EQ(guest_->grants_in_force(), before);
}

TEST_F(FrontendRingTest, EndsItsGrants) {
  const auto before = guest_->grants_in_force();
  {
    const FrontendRing other(guest_, {0}, Layout::x86_32, 16);
  }
  EXPECT_EQ(guest_->grants_in_force(), before);
}

TEST(FrontendRequestTest, LaysOutEveryKindInBothAbis) {
  const FrontendRequest discard{.op = wire(Op::discard),
                                .id = 0x0102,
                                .sector = {0x0304},
                                .discard_count = {0x0506},
                                .discard_flag = 1};
  FrontendRequest indirect{.op = wire(Op::indirect),
                           .id = 0x0708,
                           .sector = {0x090a},
                           .indirect_op = 1,
                           .indirect_segment_count = 300};
  indirect.indirect_refs[7] = {0x0b};
  for (const auto layout : {Layout::x86_32, Layout::x86_64}) {
    const auto& at = blkif::offsets(layout);
    const auto a = encode(layout, discard);
    EXPECT_EQ(a[at.discard_flag], std::byte{1});
    EXPECT_EQ(a[at.discard_id], std::byte{2});
    EXPECT_EQ(a[at.discard_sector + 1], std::byte{3});
    EXPECT_EQ(a[at.discard_nr_sectors], std::byte{6});
    const auto b = encode(layout, indirect);
    EXPECT_EQ(b[at.indirect_op], std::byte{1});
    EXPECT_EQ(b[at.indirect_nr_segments], std::byte{300 & 0xff});
    EXPECT_EQ(b[at.indirect_id], std::byte{8});
    EXPECT_EQ(b[at.indirect_sector], std::byte{0x0a});
    EXPECT_EQ(b[at.indirect_grefs + 28], std::byte{0x0b});
  }
}

}  // namespace
}  // namespace xenblk::loopback
