// The back end of the ring on plain memory: indices, events, and which bytes it writes.
#include "ringio/ring.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/ringio/slot_bytes.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Layout;
using blkif::RingOffsets;

constexpr std::byte kCanary{0xa5};

class Ring : public testing::TestWithParam<Layout> {
 protected:
  static constexpr std::uint32_t kPages = 2;
  alignas(kPageBytes) std::array<std::byte, kPages * kPageBytes> memory;

  Ring() { memory.fill(kCanary); }

  void set(std::size_t offset, std::uint32_t value) {
    std::memcpy(memory.data() + offset, &value, sizeof value);
  }
  std::uint32_t get(std::size_t offset) const {
    std::uint32_t value = 0;
    std::memcpy(&value, memory.data() + offset, sizeof value);
    return value;
  }
  void start_at(std::uint32_t index) {
    set(RingOffsets::req_prod, index);
    set(RingOffsets::rsp_prod, index);
    set(RingOffsets::req_event, index + 1);
    set(RingOffsets::rsp_event, index + 1);
  }
  BackRing attach() {
    auto ring = BackRing::attach(memory.data(), kPages, GetParam());
    EXPECT_TRUE(ring.has_value());
    return *ring;
  }
  std::size_t slot_at(std::uint32_t index) const {
    return RingOffsets::slots + index % 64 * slot_bytes(GetParam());
  }
  void write_request(std::uint32_t index, std::uint64_t id) {
    const RawSlot raw = build(GetParam(), {.operation = 1, .nr_segments = 1, .id = id});
    std::memcpy(memory.data() + slot_at(index), raw.words.data(), slot_bytes(GetParam()));
  }
  std::uint64_t id_of(const RawSlot& raw) const {
    return raw.get<std::uint64_t>(blkif::offsets(GetParam()).id);
  }
};

INSTANTIATE_TEST_SUITE_P(Layouts, Ring,
                         testing::Values(Layout::native, Layout::x86_32, Layout::x86_64),
                         [](const auto& tested) { return layout_name(tested.param); });

TEST_P(Ring, IsEmptyWhenNothingWasProduced) {
  start_at(0);
  auto ring = attach();
  EXPECT_EQ(ring.entries(), 64U);
  EXPECT_EQ(ring.look(), RingState::empty);
}

TEST_P(Ring, TakesRequestsInOrderAcrossTheEndOfTheIndices) {
  const std::uint32_t begin = 0xffff'fff0U;
  start_at(begin);
  auto ring = attach();
  for (std::uint32_t i = 0; i < 64; ++i) write_request(begin + i, i);
  set(RingOffsets::req_prod, begin + 64);
  ASSERT_EQ(ring.look(), RingState::waiting);
  ASSERT_EQ(ring.available(), 64U);
  for (std::uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(id_of(ring.copy_next()), i);
    ring.consume();
  }
  EXPECT_EQ(ring.owed(), 64U);
  for (std::uint32_t i = 0; i < 64; ++i) ring.put({.id = i, .operation = 1});
  EXPECT_TRUE(ring.publish());
  EXPECT_EQ(get(RingOffsets::rsp_prod), begin + 64);
}

TEST_P(Ring, CopyWithoutConsumeLeavesTheRequest) {
  start_at(5);
  write_request(5, 42);
  set(RingOffsets::req_prod, 6);
  auto ring = attach();
  EXPECT_EQ(id_of(ring.copy_next()), 42U);
  EXPECT_EQ(id_of(ring.copy_next()), 42U);
  EXPECT_EQ(ring.available(), 1U);
}

TEST_P(Ring, StopsForEverWhenTheProducerIsTooFarAhead) {
  start_at(100);
  auto ring = attach();
  set(RingOffsets::req_prod, 100 + 65);
  EXPECT_EQ(ring.look(), RingState::overrun);
  set(RingOffsets::req_prod, 100);
  EXPECT_EQ(ring.look(), RingState::overrun);
  EXPECT_EQ(ring.arm(), RingState::overrun);
}

TEST_P(Ring, StopsWhenTheProducerGoesBack) {
  start_at(100);
  auto ring = attach();
  set(RingOffsets::req_prod, 102);
  ASSERT_EQ(ring.look(), RingState::waiting);
  ring.consume();
  ring.consume();
  set(RingOffsets::req_prod, 101);
  EXPECT_EQ(ring.look(), RingState::overrun);
}

TEST_P(Ring, AttachesWhereAnEarlierBackendLeftIt) {
  start_at(7);
  set(RingOffsets::req_prod, 10);
  write_request(7, 70);
  auto ring = attach();
  EXPECT_EQ(ring.available(), 3U);
  EXPECT_EQ(id_of(ring.copy_next()), 70U);
}

TEST_P(Ring, RefusesToAttachToAnOverrunRing) {
  start_at(7);
  set(RingOffsets::req_prod, 7 + 65);
  const auto ring = BackRing::attach(memory.data(), kPages, GetParam());
  ASSERT_FALSE(ring.has_value());
  EXPECT_EQ(ring.error().code, Errc::refused);
}

TEST_P(Ring, AsksForAnEventAndLooksOnceMore) {
  start_at(3);
  auto ring = attach();
  EXPECT_EQ(ring.arm(), RingState::empty);
  EXPECT_EQ(get(RingOffsets::req_event), 4U);
  set(RingOffsets::req_prod, 4);  // came after the last look
  EXPECT_EQ(ring.arm(), RingState::waiting);
}

TEST_P(Ring, NotifiesOnlyWhenTheGuestAskedForIt) {
  start_at(0);
  set(RingOffsets::req_prod, 4);
  auto ring = attach();
  for (int i = 0; i < 4; ++i) ring.consume();
  set(RingOffsets::rsp_event, 3);
  ring.put({});
  EXPECT_FALSE(ring.publish());
  ring.put({});
  ring.put({});
  EXPECT_TRUE(ring.publish());  // passed index 3
  ring.put({});
  EXPECT_FALSE(ring.publish());  // the guest has not asked again
}

// The guest can change the index that it shares with us; ours is another one.
TEST_P(Ring, KeepsItsOwnIndexWhateverTheSharedOneSays) {
  start_at(0);
  set(RingOffsets::req_prod, 2);
  auto ring = attach();
  ring.consume();
  ring.consume();
  ring.put({});
  EXPECT_TRUE(ring.publish());
  set(RingOffsets::rsp_prod, 0xdead'beefU);
  set(RingOffsets::rsp_event, 2);
  ring.put({});
  EXPECT_TRUE(ring.publish());
  EXPECT_EQ(get(RingOffsets::rsp_prod), 2U);
}

// Padding bytes that carry a backend's memory were an advisory of their own.
TEST_P(Ring, WritesNothingButTheFieldsOfAResponse) {
  start_at(0);
  for (std::uint32_t i = 0; i < 64; ++i) {
    memset(memory.data() + slot_at(i), static_cast<int>(kCanary), slot_bytes(GetParam()));
  }
  set(RingOffsets::req_prod, 1);
  auto ring = attach();
  const auto before = memory;
  ring.consume();
  ring.put({.id = 0x1112131415161718, .operation = 0x19, .status = blkif::Status::eopnotsupp});
  EXPECT_TRUE(ring.publish());
  auto expected = before;
  const std::array<std::uint8_t, 12> response = {0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
                                                 0x12, 0x11, 0x19, 0xa5, 0xfe, 0xff};
  std::memcpy(expected.data() + slot_at(0), response.data(), response.size());
  const std::uint32_t one = 1;
  std::memcpy(expected.data() + RingOffsets::rsp_prod, &one, sizeof one);
  EXPECT_EQ(memory, expected);
}

}  // namespace
}  // namespace xenblk::ringio::test
