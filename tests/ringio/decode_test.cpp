// The parser of guest input: what it makes of good requests and how it refuses bad ones.
#include "ringio/decode.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "tests/ringio/slot_bytes.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

constexpr auto kMax64 = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint8_t op(Op value) {
  return static_cast<std::uint8_t>(value);
}

template <std::size_t size>
RawSlot raw_of(const std::array<std::uint8_t, size>& bytes) {
  static_assert(size <= sizeof(RawSlot));
  RawSlot raw;
  std::memcpy(raw.words.data(), bytes.data(), size);
  return raw;
}

// Bytes as a 32-bit guest writes a read of sectors 0x1122.. with two segments.
constexpr std::array<std::uint8_t, 36> kGolden32 = {
    0x00, 0x02, 0x34, 0x12,                          // operation, nr_segments, handle
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,  // id
    0x08, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // sector_number
    0xef, 0xbe, 0xad, 0xde, 0x01, 0x05, 0xff, 0xff,  // first segment
    0x10, 0x00, 0x00, 0x00, 0x00, 0x07, 0xff, 0xff,  // second
};
// The same of a 64-bit guest.
constexpr std::array<std::uint8_t, 40> kGolden64 = {
    0x00, 0x02, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff,  // ... and padding
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,  // id
    0x08, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  // sector_number
    0xef, 0xbe, 0xad, 0xde, 0x01, 0x05, 0xff, 0xff,  // first segment
    0x10, 0x00, 0x00, 0x00, 0x00, 0x07, 0xff, 0xff,  // second
};

void expect_golden(const std::expected<Request, Refusal>& request) {
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->id, 0x1122334455667788U);
  EXPECT_EQ(request->op, Op::read);
  EXPECT_EQ(request->first, SectorIndex{0x708});
  EXPECT_EQ(request->count, SectorCount{5 + 8});
  ASSERT_EQ(request->segment_count, 2U);
  EXPECT_EQ(request->segments[0], (Segment{{0xdeadbeef}, 1, 5}));
  EXPECT_EQ(request->segments[1], (Segment{{0x10}, 0, 7}));
}

TEST(DecodeGolden, ReadsA32BitGuestsBytes) {
  expect_golden(decode(raw_of(kGolden32), Layout::x86_32, {.capacity = {4096}}));
}
TEST(DecodeGolden, ReadsA64BitGuestsBytes) {
  expect_golden(decode(raw_of(kGolden64), Layout::x86_64, {.capacity = {4096}}));
}
TEST(DecodeGolden, TakesNativeAsThisMachinesLayout) {
  expect_golden(decode(raw_of(kGolden64), Layout::native, {.capacity = {4096}}));
}

class Decode : public testing::TestWithParam<Layout> {
 protected:
  Limits limits = {.capacity = {1000},
                   .access = Access::read_write,
                   .offer_flush = true,
                   .offer_barrier = true,
                   .offer_discard = true};

  std::expected<Request, Refusal> decoded(const RequestFields& fields) const {
    return decode(build(GetParam(), fields), GetParam(), limits);
  }
  // A request of whole pages; every test changes what it is about.
  static RequestFields transfer(Op operation, std::uint8_t segments, std::uint64_t sector = 0) {
    RequestFields fields{
        .operation = op(operation), .nr_segments = segments, .id = 77, .sector = sector};
    fields.segments.resize(segments, {.gref = 5});
    return fields;
  }
  static RequestFields discard(std::uint64_t sector, std::uint64_t sectors) {
    return {.operation = op(Op::discard), .id = 77, .sector = sector, .discard_sectors = sectors};
  }
  static RequestFields indirect(std::uint16_t segments) {
    return {.operation = op(Op::indirect),
            .id = 77,
            .sector = 9,
            .indirect_segments = segments,
            .indirect_refs = {1, 2, 3, 4, 5, 6, 7, 8}};
  }
  void expect_refused(const RequestFields& fields, Trouble trouble,
                      Status status = Status::error) const {
    const auto request = decoded(fields);
    ASSERT_FALSE(request.has_value());
    EXPECT_EQ(request.error().trouble, trouble) << describe(request.error().trouble);
    EXPECT_EQ(request.error().status, status);
    EXPECT_EQ(request.error().id, fields.id);
    EXPECT_EQ(request.error().operation, fields.operation);
  }
  void expect_taken(const RequestFields& fields) const {
    const auto request = decoded(fields);
    ASSERT_TRUE(request.has_value()) << describe(request.error().trouble);
    EXPECT_EQ(request->id, fields.id);
  }
};

INSTANTIATE_TEST_SUITE_P(Layouts, Decode,
                         testing::Values(Layout::native, Layout::x86_32, Layout::x86_64),
                         [](const auto& tested) { return layout_name(tested.param); });

// --- operations ---
TEST_P(Decode, AnswersEveryUnknownOperationWithNotSupported) {
  for (int operation = 7; operation < 256; ++operation) {
    RequestFields fields = transfer(Op::read, 1);
    fields.operation = static_cast<std::uint8_t>(operation);
    expect_refused(fields, Trouble::unknown_operation, Status::eopnotsupp);
  }
}
TEST_P(Decode, AnswersThePacketOperationWithNotSupported) {
  expect_refused(transfer(Op::reserved_1, 1), Trouble::not_offered, Status::eopnotsupp);
}
TEST_P(Decode, AnswersIndirectRequestsWithNotSupportedAndTheOperationInside) {
  for (const std::uint8_t inner : std::array<std::uint8_t, 4>{0, 1, 6, 255}) {
    RequestFields fields = indirect(1);
    fields.indirect_op = inner;
    limits.indirect_segments_max = 0;
    const auto request = decoded(fields);
    ASSERT_FALSE(request.has_value());
    EXPECT_EQ(request.error(), (Refusal{77, inner, Status::eopnotsupp, Trouble::not_offered, 6}));
  }
}
TEST_P(Decode, AnswersWhatWasNotOfferedWithNotSupported) {
  limits.offer_barrier = limits.offer_flush = limits.offer_discard = false;
  expect_refused(transfer(Op::write_barrier, 1), Trouble::not_offered, Status::eopnotsupp);
  expect_refused(transfer(Op::flush_diskcache, 0), Trouble::not_offered, Status::eopnotsupp);
  expect_refused(discard(0, 8), Trouble::not_offered, Status::eopnotsupp);
}

// --- number of segments ---
TEST_P(Decode, RefusesATransferWithoutSegments) {
  expect_refused(transfer(Op::read, 0), Trouble::segment_count);
  expect_refused(transfer(Op::write, 0), Trouble::segment_count);
}
TEST_P(Decode, RefusesMoreSegmentsThanFit) {
  for (const auto operation : {Op::read, Op::write, Op::write_barrier, Op::flush_diskcache}) {
    for (const int segments : {12, 13, 128, 255}) {
      RequestFields fields = transfer(operation, 11);
      fields.nr_segments = static_cast<std::uint8_t>(segments);
      expect_refused(fields, Trouble::segment_count);
    }
  }
}
TEST_P(Decode, TakesAsManySegmentsAsFit) {
  const auto request = decoded(transfer(Op::write, 11));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->count, SectorCount{88});
  EXPECT_EQ(request->data().size(), 11U);
}
TEST_P(Decode, TakesAnEmptyFlushWhateverItsSectorIs) {
  for (const auto operation : {Op::flush_diskcache, Op::write_barrier}) {
    const auto request = decoded(transfer(operation, 0, kMax64));
    ASSERT_TRUE(request.has_value());
    EXPECT_FALSE(request->carries_data());
    EXPECT_TRUE(request->data().empty());
  }
}

// --- sectors of a segment ---
TEST_P(Decode, RefusesASegmentBeyondItsPage) {
  for (const int last : {8, 9, 255}) {
    RequestFields fields = transfer(Op::read, 2);
    fields.segments[1].last_sect = static_cast<std::uint8_t>(last);
    expect_refused(fields, Trouble::segment_sectors);
  }
}
TEST_P(Decode, RefusesASegmentThatEndsBeforeItBegins) {
  RequestFields fields = transfer(Op::write, 1);
  fields.segments[0] = {.gref = 1, .first_sect = 4, .last_sect = 3};
  expect_refused(fields, Trouble::segment_sectors);
  fields.segments[0] = {.gref = 1, .first_sect = 255, .last_sect = 7};
  expect_refused(fields, Trouble::segment_sectors);
}
TEST_P(Decode, TakesASingleSector) {
  RequestFields fields = transfer(Op::read, 1, 999);
  fields.segments[0] = {.gref = 1, .first_sect = 7, .last_sect = 7};
  expect_taken(fields);
}
TEST_P(Decode, RefusesASegmentNotAlignedToTheSectorSize) {
  limits.logical_sector_bytes = 4096;
  RequestFields fields = transfer(Op::read, 2);
  expect_taken(fields);
  fields.segments[0].first_sect = 1;
  expect_refused(fields, Trouble::misaligned);
}
TEST_P(Decode, RefusesAPlaceNotAlignedToTheSectorSize) {
  limits.logical_sector_bytes = 2048;
  expect_taken(transfer(Op::read, 1, 4));
  expect_refused(transfer(Op::read, 1, 5), Trouble::misaligned);
  expect_refused(discard(4, 5), Trouble::misaligned);
}

// --- indirect ---
TEST_P(Decode, ReadsTheFieldsOfAnIndirectRequest) {
  limits.indirect_segments_max = 4096;
  const auto request = decoded(indirect(4096));
  ASSERT_TRUE(request.has_value());
  EXPECT_TRUE(request->indirect);
  EXPECT_EQ(request->op, Op::read);
  EXPECT_EQ(request->first, SectorIndex{9});
  EXPECT_EQ(request->segment_count, 4096U);
  EXPECT_EQ(request->table_bytes(), 32768U);
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(request->table_refs[i].n, i + 1);
}
TEST_P(Decode, CompletesAnIndirectRequestWithItsSegments) {
  limits.indirect_segments_max = 512;
  auto request = *decoded(indirect(12));
  std::vector<Segment> table(12, Segment{{5}, 0, 7});
  table[3] = {{6}, 2, 2};
  ASSERT_TRUE(decode_table(request, table.data(), limits).has_value());
  EXPECT_EQ(request.count, SectorCount{11 * 8 + 1});
  EXPECT_EQ(request.data()[3], table[3]);
}
TEST_P(Decode, RefusesSegmentsOfAnIndirectRequestAsAnyOther) {
  limits.indirect_segments_max = 512;
  auto request = *decoded(indirect(300));
  std::vector<Segment> table(300, Segment{{5}, 0, 7});
  EXPECT_EQ(decode_table(request, table.data(), limits).error(),
            (Refusal{77, op(Op::read), Status::error, Trouble::out_of_range, 9}));
  table[299].last_sect = 8;
  EXPECT_EQ(decode_table(request, table.data(), limits).error(),
            (Refusal{77, op(Op::read), Status::error, Trouble::segment_sectors, 299}));
}

// --- range on the disk ---
TEST_P(Decode, TakesTheLastSectorsOfTheDisk) {
  expect_taken(transfer(Op::write, 1, 992));
}
TEST_P(Decode, RefusesOneSectorBeyondTheEnd) {
  for (const auto operation : {Op::read, Op::write, Op::write_barrier, Op::flush_diskcache}) {
    expect_refused(transfer(operation, 1, 993), Trouble::out_of_range);
  }
}
TEST_P(Decode, RefusesAPlaceWhoseEndWraps) {
  for (const std::uint64_t sector : {kMax64, kMax64 - 7, kMax64 - 8, std::uint64_t{1} << 63}) {
    expect_refused(transfer(Op::read, 1, sector), Trouble::out_of_range);
  }
}
TEST_P(Decode, RefusesEverythingOnAnEmptyDisk) {
  limits.capacity = {0};
  expect_refused(transfer(Op::read, 1, 0), Trouble::out_of_range);
}
TEST_P(Decode, ChecksTheRangeOfADiscard) {
  expect_taken(discard(0, 1000));
  expect_refused(discard(1, 1000), Trouble::out_of_range);
  expect_refused(discard(0, kMax64), Trouble::out_of_range);
  expect_refused(discard(kMax64, kMax64), Trouble::out_of_range);
  expect_refused(discard(kMax64, 1), Trouble::out_of_range);
  expect_refused(discard(1000, 0), Trouble::segment_count);
}

TEST_P(Decode, RefusesASecureDiscard) {
  auto fields = discard(0, 8);
  fields.discard_flag = 0xfe;
  expect_taken(fields);
  fields.discard_flag = 1;
  expect_refused(fields, Trouble::not_offered, Status::eopnotsupp);
}

// --- read-only disk ---
TEST_P(Decode, RefusesEveryChangeOfAReadOnlyDisk) {
  limits.access = Access::read_only;
  expect_refused(transfer(Op::write, 1), Trouble::read_only_disk);
  expect_refused(transfer(Op::write_barrier, 1), Trouble::read_only_disk);
  expect_refused(transfer(Op::flush_diskcache, 1), Trouble::read_only_disk);
  expect_refused(discard(0, 8), Trouble::read_only_disk);
}
TEST_P(Decode, ServesWhatChangesNothingOnAReadOnlyDisk) {
  limits.access = Access::read_only;
  expect_taken(transfer(Op::read, 1));
  expect_taken(transfer(Op::write_barrier, 0));
  expect_taken(transfer(Op::flush_diskcache, 0));
}

// --- handle ---
TEST_P(Decode, IgnoresTheHandle) {
  RequestFields fields = transfer(Op::read, 1);
  fields.handle = 0xffff;
  expect_taken(fields);
}

// Any bytes at all: the parser either refuses or gives a request that keeps all limits.
TEST_P(Decode, GivesOnlyRequestsThatKeepTheLimits) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 100'000; ++round) {
    RawSlot raw;
    for (auto& word : raw.words) word = static_cast<std::uint32_t>(random());
    // Mostly plausible, so that the deeper checks are reached.
    if (round % 8 != 0) {
      raw.words[0] = static_cast<std::uint32_t>(random() % 7 | (random() % 13) << 8);
      for (auto& word : raw.words) word &= random() % 2 ? 0x0000'0707U : ~0U;
    }
    const auto request = decode(raw, GetParam(), limits);
    if (!request || request->indirect) continue;
    ASSERT_LE(request->segment_count, blkif::kMaxSegments);
    ASSERT_TRUE(request->count.n == 0 || fits(request->first, request->count, limits.capacity));
    std::uint64_t sectors = 0;
    for (const auto& segment : request->data()) {
      ASSERT_LE(segment.first_sect, segment.last_sect);
      ASSERT_LT(segment.last_sect, kSectorsPerPage);
      sectors += segment.sectors();
    }
    if (request->carries_data()) {
      ASSERT_EQ(sectors, request->count.n);
    }
  }
}

}  // namespace
}  // namespace xenblk::ringio::test
