// Indirect requests: their segments stand in pages of the guest, are fetched once, and may be more
// than fit into one buffer.
#include <gtest/gtest.h>

#include <random>

#include "tests/ringio/core_world.h"
#include "tests/rounds.h"

namespace xenblk::ringio::test {
namespace {

using blkif::Op;
using blkif::Status;

constexpr std::uint32_t kMost = blkif::kMaxIndirectSegments;
constexpr std::uint32_t kGuestPages = 3 * kMost;

class Indirect : public testing::TestWithParam<blkif::Layout> {
 protected:
  CoreWorld world;
  std::shared_ptr<loopback::GuestDomain> domain = world.xen.create_domain({7}, kGuestPages);
  GuestQueue queue{domain, GetParam()};
  std::uint32_t offered = kMost;

  void SetUp() override {
    world.image = std::make_shared<MemoryImage>(SectorCount{(kMost + 2) * kSectorsPerPage});
  }
  void connect() {
    auto setup = queue.setup(world.image);
    setup.indirect_segments_max = offered;
    world.connect(std::move(setup));
  }
  // Whole pages, one after the other in the guest's memory.
  struct Area {
    std::span<std::byte> memory;
    std::vector<FrontendSegment> segments;
  };
  Area area(std::uint32_t pages) {
    Area area{domain->allocate_pages(pages), {}};
    for (std::uint32_t i = 0; i < pages; ++i) {
      const auto* page = area.memory.data() + std::size_t{i} * kPageBytes;
      area.segments.push_back({domain->grant(page, kBackend, Access::read_write)});
    }
    return area;
  }
  static void scribble(std::span<std::byte> memory, std::uint32_t seed) {
    std::mt19937 random(seed);
    for (auto& byte : memory) byte = static_cast<std::byte>(random());
  }
  void expect_refused(const FrontendRequest& request, Trouble trouble) {
    const auto before = world.image->log().size();
    const auto counted = (*queue.counters)[trouble].get();
    const auto response = world.ask(queue, request);
    EXPECT_EQ(response.status, Status::error) << describe(trouble);
    EXPECT_EQ(response.op, request.indirect_op) << "the operation inside is answered";
    EXPECT_EQ((*queue.counters)[trouble].get(), counted + 1) << describe(trouble);
    EXPECT_EQ(world.image->log().size(), before) << "the image was asked";
    EXPECT_EQ(world.status(queue, queue.read(0, queue.page().ref)), Status::okay);
  }
};
XENBLK_FOR_ALL_LAYOUTS(Indirect);

// --- what works ---
TEST_P(Indirect, RequestsOfEverySizeReadBackWhatTheyWrote) {
  connect();
  const auto from = area(kMost), to = area(kMost);
  for (const std::uint32_t pages : {1U, 11U, 12U, 255U, 256U, 257U, 511U, 512U, 513U, 4096U}) {
    SCOPED_TRACE(pages);
    scribble(from.memory.first(std::size_t{pages} * kPageBytes), pages);
    const auto first = [&](const Area& area) {
      return std::vector(area.segments.begin(), area.segments.begin() + pages);
    };
    const auto written = world.ask(queue, queue.indirect(Op::write, 8, first(from)));
    EXPECT_EQ(written, (RingResponse{written.id, wire(Op::write), Status::okay}));
    const auto read = world.ask(queue, queue.indirect(Op::read, 8, first(to)));
    EXPECT_EQ(read, (RingResponse{read.id, wire(Op::read), Status::okay}));
    const auto bytes = std::size_t{pages} * kPageBytes;
    ASSERT_TRUE(std::ranges::equal(from.memory.first(bytes), to.memory.first(bytes)));
  }
  EXPECT_EQ(queue.counters->writes.get(), 10U) << "each is one request, however many pieces";
}

TEST_P(Indirect, SegmentsOfAnySectorsLandWhereTheyBelong) {
  connect();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  auto area = this->area(700);
  for (int round = 0; round < 4; ++round) {
    scribble(area.memory, static_cast<std::uint32_t>(random()));
    std::vector<std::byte> expected;
    const std::size_t count = 1 + random() % area.segments.size();
    for (std::size_t i = 0; i < count; ++i) {
      auto& segment = area.segments[i];
      segment.first_sector = static_cast<std::uint8_t>(random() % 8);
      segment.last_sector =
          static_cast<std::uint8_t>(segment.first_sector + random() % (8U - segment.first_sector));
      const auto sectors = segment.last_sector - segment.first_sector + 1U;
      const auto data =
          area.memory.subspan(i * kPageBytes + segment.first_sector * std::size_t{kSectorBytes},
                              sectors * std::size_t{kSectorBytes});
      expected.insert(expected.end(), data.begin(), data.end());
    }
    const std::vector chosen(area.segments.begin(),
                             area.segments.begin() + static_cast<long>(count));
    EXPECT_EQ(world.status(queue, queue.indirect(Op::write, 16, chosen)), Status::okay);
    const auto on_disk = world.image->sectors(16, expected.size() / kSectorBytes);
    ASSERT_TRUE(std::ranges::equal(on_disk, expected));
    std::ranges::fill(area.memory, std::byte{0});
    EXPECT_EQ(world.status(queue, queue.indirect(Op::read, 16, chosen)), Status::okay);
    EXPECT_EQ(world.status(queue, queue.indirect(Op::write, 16, chosen)), Status::okay);
    ASSERT_TRUE(std::ranges::equal(on_disk, expected)) << "what was read is what is written";
  }
}

TEST_P(Indirect, ReferencesBeyondThePagesThatAreNeededMeanNothing) {
  connect();
  const auto data = area(513);
  auto request = queue.indirect(Op::write, 0, data.segments);
  for (std::size_t i = 2; i < 8; ++i) request.indirect_refs[i] = {0xffff'fff0};
  EXPECT_EQ(world.status(queue, request), Status::okay);
}

TEST_P(Indirect, SegmentsOfAllRequestsOfAPassAreFetchedByOneCall) {
  connect();
  const auto data = area(2);
  for (std::uint64_t i = 0; i < 16; ++i)
    queue.put(queue.indirect(Op::write, i * 16, data.segments));
  queue.push();
  const auto before = world.xen.usage().copy_calls.load();
  world.settle();
  EXPECT_EQ(queue.take().size(), 16U);
  EXPECT_EQ(world.xen.usage().copy_calls, before + 2) << "one for segments, one for data";
}

// --- what is refused ---
TEST_P(Indirect, CountsThatWereNotOfferedAreRefused) {
  offered = 256;
  connect();
  const auto data = area(257);
  for (const int count : {0, 257, 4096, 4097, 65535}) {
    auto request = queue.indirect(Op::read, 0, data.segments);
    request.indirect_segment_count = static_cast<std::uint16_t>(count);
    expect_refused(request, Trouble::segment_count);
  }
}
TEST_P(Indirect, OnlyReadsAndWritesMayBeInside) {
  connect();
  const auto data = area(1);
  for (int inner = 2; inner < 256; ++inner) {
    auto request = queue.indirect(Op::read, 0, data.segments);
    request.indirect_op = static_cast<std::uint8_t>(inner);
    expect_refused(request, Trouble::indirect_operation);
  }
}
TEST_P(Indirect, SegmentsOutsideTheirPageAreRefused) {
  connect();
  for (const auto& [first, last] : {std::pair{0, 8}, {0, 255}, {255, 255}, {7, 6}, {255, 0}}) {
    auto data = area(300);
    data.segments[299].first_sector = static_cast<std::uint8_t>(first);
    data.segments[299].last_sector = static_cast<std::uint8_t>(last);
    expect_refused(queue.indirect(Op::write, 0, data.segments), Trouble::segment_sectors);
  }
}
TEST_P(Indirect, PlacesBeyondTheEndAreRefusedWhole) {
  connect();
  const auto data = area(300);
  for (const std::uint64_t sector : {world.image->info().capacity.n - 300 * 8 + 1,
                                     ~std::uint64_t{0}, ~std::uint64_t{0} - 2399}) {
    expect_refused(queue.indirect(Op::write, sector, data.segments), Trouble::out_of_range);
  }
}
TEST_P(Indirect, WritesToAReadOnlyDiskAreRefused) {
  auto setup = queue.setup(world.image);
  setup.indirect_segments_max = offered;
  setup.access = Access::read_only;
  world.connect(std::move(setup));
  expect_refused(queue.indirect(Op::write, 0, area(12).segments), Trouble::read_only_disk);
}
TEST_P(Indirect, PagesOfSegmentsThatWereNeverGrantedAreRefused) {
  connect();
  const auto data = area(513);
  for (const std::size_t page : {0U, 1U}) {
    auto request = queue.indirect(Op::write, 0, data.segments);
    request.indirect_refs[page] = {31000};
    expect_refused(request, Trouble::grant_copy_failed);
  }
}
TEST_P(Indirect, DataThatWasNeverGrantedFailsItsRequestInAnyPiece) {
  connect();
  for (const std::size_t bad : {0U, 255U, 256U, 299U}) {
    auto data = area(300);
    data.segments[bad].ref = {31000};
    EXPECT_EQ(world.status(queue, queue.indirect(Op::write, 0, data.segments)), Status::error);
    EXPECT_EQ(world.status(queue, queue.indirect(Op::read, 0, data.segments)), Status::error);
  }
  EXPECT_EQ((*queue.counters)[Trouble::grant_copy_failed].get(), 8U);
}
TEST_P(Indirect, AFailureOfTheImageEndsTheRequestAtThatPiece) {
  connect();
  world.image->fail_next(IoStatus::okay);
  world.image->fail_next(IoStatus::io_error);
  EXPECT_EQ(world.status(queue, queue.indirect(Op::write, 0, area(1000).segments)), Status::error);
  EXPECT_EQ(world.image->log().size(), 2U);
}
TEST_P(Indirect, APageThatIsItsOwnTableIsTheGuestsOwnMatter) {
  connect();
  auto request = queue.indirect(Op::read, 0, area(300).segments);
  const auto self = domain->grant(queue.table.data(), kBackend, Access::read_write);
  const std::vector<FrontendSegment> itself(300, FrontendSegment{self});
  for (std::size_t i = 0; i < itself.size(); ++i) {
    std::ranges::copy(loopback::encode(itself[i]), queue.table.begin() + static_cast<long>(i * 8));
  }
  world.image->fill(std::byte{0xff});
  EXPECT_EQ(world.status(queue, request), Status::okay) << "checked before it was overwritten";
}

// The class of XSA-155: what was checked is what is used, whatever the guest writes meanwhile.
TEST_P(Indirect, SegmentsThatChangeAfterTheyWereFetchedChangeNothing) {
  connect();
  const auto data = area(600);
  scribble(data.memory, 1);
  world.image->hold();
  queue.send(queue.indirect(Op::write, 0, data.segments));
  world.settle();
  std::ranges::fill(queue.table, std::byte{0xff});
  world.image->release_all();
  world.settle();
  const auto responses = queue.take();
  ASSERT_EQ(responses.size(), 1U);
  EXPECT_EQ(responses[0].status, Status::okay);
  EXPECT_TRUE(std::ranges::equal(world.image->sectors(0, 4800), data.memory));
}

// --- memory ---
TEST_P(Indirect, RequestsWithoutABufferStayInTheRing) {
  CoreWorld narrow({.arena_bytes = kIndirectArenaBytes});
  const auto guest = narrow.xen.create_domain({7}, kGuestPages);
  GuestQueue narrow_queue(guest, GetParam());
  auto setup = narrow_queue.setup(narrow.image);
  setup.indirect_segments_max = 256;
  narrow.connect(std::move(setup));
  const auto page = narrow_queue.page();
  const std::vector<FrontendSegment> data(256, FrontendSegment{page.ref});
  narrow.image->hold();
  for (int i = 0; i < 32; ++i) narrow_queue.put(narrow_queue.indirect(Op::read, 0, data));
  narrow_queue.push();
  narrow.settle();
  EXPECT_EQ(narrow.image->held(), 1U);
  narrow.image->release_all();
  narrow.settle();
  EXPECT_EQ(narrow_queue.take().size(), 32U);
}
TEST_P(Indirect, AWorkerWithoutTheMemoryRefusesTheQueue) {
  CoreWorld narrow({.arena_bytes = kIndirectArenaBytes / 2});
  GuestQueue other(narrow.xen.create_domain({7}), GetParam());
  auto setup = other.setup(narrow.image);
  setup.indirect_segments_max = 1;
  EXPECT_EQ(narrow.core->connect(std::move(setup)).error(),
            (Error{Errc::refused, 0, "too little memory for indirect requests"}));
}
TEST_P(Indirect, MoreSegmentsThanTheProtocolHasCannotBeOffered) {
  auto setup = queue.setup(world.image);
  setup.indirect_segments_max = kMost + 1;
  EXPECT_EQ(world.core->connect(std::move(setup)).error(),
            (Error{Errc::refused, 0, "impossible number of indirect segments"}));
}

// --- very many bad ones ---
TEST_P(Indirect, TensOfThousandsOfRandomRequestsLeaveNothingBehind) {
  offered = 300;
  connect();
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto page = queue.page();
  auto request = queue.indirect(Op::read, 0, std::vector<FrontendSegment>(301, {page.ref}));
  const auto table = queue.table;
  std::uint64_t answers = 0;
  const int rounds = xenblk::test::single_threaded_rounds(500);
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 8; ++i) {
      const FrontendSegment segment{
          {random() % 64 == 0 ? 31000 : page.ref.n},
          static_cast<std::uint8_t>(random() % 256 == 0 ? random() % 256 : 0),
          static_cast<std::uint8_t>(random() % 512 == 0 ? random() : 7)};
      std::ranges::copy(loopback::encode(segment),
                        table.begin() + static_cast<long>(random() % 301 * 8));
    }
    for (int i = 0; i < 32; ++i) {
      request.id = queue.next_id++;
      request.sector = {random() % 40000};
      request.indirect_op = static_cast<std::uint8_t>(random() % 16 == 0 ? random() : random() % 2);
      request.indirect_segment_count = static_cast<std::uint16_t>(random() % 310);
      queue.put(request);
    }
    queue.push();
    world.settle();
    answers += queue.take().size();
    ASSERT_EQ(queue.ring.outstanding(), 0U);
  }
  EXPECT_EQ(answers, static_cast<std::uint64_t>(rounds) * 32U);
  EXPECT_GT(queue.counters->reads.get(), 0U);
  EXPECT_EQ(queue.counters->in_flight.get(), 0U);
}

}  // namespace
}  // namespace xenblk::ringio::test
