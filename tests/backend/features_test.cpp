// What a session may use beyond reads and writes of eleven pages: how it is offered, that it works
// end to end in every layout, and what happens to a guest that uses it without the offer.
#include "tests/backend/loopback_fixture.h"
#include "tests/ringio/memory_image.h"

namespace xenblk::backend {
namespace {

using blkif::Layout;
using blkif::Op;
using blkif::Status;

class Features : public LoopbackTest {
 protected:
  void restart(negotiation::Offer offer, ringio::WorkerOptions worker = {}) {
    end_host();
    offer.max_queues = 8;
    start_host({.offer = offer, .workers = 2, .worker = worker});
  }
  // Writes and reads back all of the disk in requests of this size.
  void expect_large_requests(std::uint32_t segments, std::uint64_t disk_bytes) {
    for (const auto op : {Op::write, Op::read}) {
      const auto request = std::uint64_t{segments} * kSectorsPerPage;
      const auto result = run_load(frontend_->queue(), {.op = op,
                                                        .content = loopback::Content::pattern,
                                                        .length = {disk_bytes / kSectorBytes},
                                                        .request = {request},
                                                        .depth = 4,
                                                        .requests = 16,
                                                        .seed = 5,
                                                        .patience = kPatience});
      EXPECT_TRUE(result.clean()) << result.violation.value_or("") << " failed " << result.failed
                                  << " mismatched " << result.mismatched << log_text();
    }
  }
};

class EveryLayout : public Features, public testing::WithParamInterface<Layout> {};
INSTANTIATE_TEST_SUITE_P(Features, EveryLayout,
                         testing::Values(Layout::native, Layout::x86_32, Layout::x86_64));

// --- indirect segments ---
TEST_P(EveryLayout, ServesRequestsOfOneMebibyte) {
  for (const auto& image : {raw_image(), vhd_image()}) {
    connect(disk(image), {.queue = {.layout = GetParam(), .depth = 8, .segments_max = 256}});
    EXPECT_EQ(frontend_->properties().indirect_segments_max, 256U);
    expect_large_requests(256, kDiskBytes);
    remove(disk(image));
  }
}

TEST_P(EveryLayout, ServesRequestsOfSixteenMebibytes) {
  restart({.max_indirect_segments = blkif::kMaxIndirectSegments});
  constexpr std::uint64_t kBytes = 64U << 20;
  const auto raw = disk("raw:" + directory_.make_file("large.raw", kBytes, 'r'));
  guest_ = xen_.create_domain({8}, 3 * blkif::kMaxIndirectSegments);
  auto large = raw;
  large.guest = {8};
  connect(large, {.queue = {.layout = GetParam(), .depth = 2, .segments_max = 4096}});
  expect_large_requests(4096, kBytes);
}

TEST_F(Features, OfferNoIndirectSegmentsWithoutTheMemory) {
  restart({}, {.arena_bytes = std::size_t{1} << 20});
  connect(disk(raw_image()), {.queue = {.segments_max = 256}});
  EXPECT_EQ(frontend_->properties().indirect_segments_max, 0U);
  expect_writes_and_reads(*frontend_);
}

TEST_F(Features, OfferAsManyIndirectSegmentsAsConfigured) {
  restart({.max_indirect_segments = 64});
  connect(disk(raw_image()));
  EXPECT_EQ(frontend_->properties().indirect_segments_max, 64U);
}

// --- discard ---
TEST_P(EveryLayout, ServesDiscards) {
  connect(disk("null:4M"), {.queue = {.layout = GetParam()}});
  EXPECT_TRUE(frontend_->properties().discard);
  expect_okay(frontend_->discard({0}, {kDiskBytes / kSectorBytes}));
  EXPECT_EQ(frontend_->discard({1}, {kDiskBytes / kSectorBytes}).value(), Status::error);
  EXPECT_EQ(frontend_->discard({8}, {~std::uint64_t{0}}).value(), Status::error);
  std::vector<std::byte> data(512);
  expect_okay(frontend_->read({0}, data));
}

TEST_F(Features, TellTheExtentsOfADiscard) {
  const auto null = disk("null:4M");
  connect(null);
  EXPECT_EQ(node(null, "feature-discard"), "1");
  EXPECT_EQ(node(null, "discard-granularity"), "4096") << "what a null disk calls a sector";
  EXPECT_EQ(node(null, "discard-alignment"), "0");
  EXPECT_EQ(node(null, "discard-secure"), "0");
}

TEST_F(Features, DiscardsAreNotOfferedWhereTheToolstackForbidsThem) {
  auto null = disk("null:4M");
  null.extra["discard-enable"] = "0";
  connect(null);
  EXPECT_FALSE(frontend_->properties().discard);
  EXPECT_EQ(frontend_->discard({0}, {8}).value(), Status::eopnotsupp);
  std::vector<std::byte> data(512);
  expect_okay(frontend_->read({0}, data));
}

TEST_F(Features, DiscardsAreNotOfferedOnAReadOnlyDisk) {
  auto null = disk("null:4M");
  null.mode = "r";
  null.extra["discard-enable"] = "1";
  connect(null);
  EXPECT_FALSE(frontend_->properties().discard);
  EXPECT_EQ(frontend_->discard({0}, {8}).value(), Status::eopnotsupp);
}

// --- grants that stay mapped ---
TEST_P(EveryLayout, ServesFrontendsWithPersistentGrants) {
  restart({.persistent_grants = true});
  for (const std::uint32_t segments : {11U, 32U}) {
    const auto raw = disk(raw_image());
    connect(raw, {.queue = {.layout = GetParam(), .segments_max = segments},
                  .queues = 2,
                  .keys = loopback::RingKeys::ring_page_order,
                  .grants = loopback::Grants::persistent});
    EXPECT_TRUE(frontend_->properties().persistent);
    expect_large_requests(segments, kDiskBytes);
    const auto copied = xen_.usage().copy_segments.load();
    expect_writes_and_reads(*frontend_);
    EXPECT_GT(xen_.usage().mapped_pages, 2U);
    EXPECT_LT(xen_.usage().copy_segments - copied, 200U) << "of 2048 pages";
    remove(raw);
    EXPECT_EQ(xen_.usage().mapped_pages, 0U);
  }
}

TEST_F(Features, GrantsOfAFrontendThatEndsThemAreNeverKept) {
  restart({.persistent_grants = true});
  connect(disk(raw_image()), {.grants = loopback::Grants::per_request});
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(xen_.usage().mapped_pages, 1U);
}

TEST_F(Features, PagesOfAnIdleFrontendAreGivenBackInTime) {
  restart({.persistent_grants = true});
  const auto raw = disk(raw_image());
  connect(raw, {.queues = 2,
                .keys = loopback::RingKeys::ring_page_order,
                .grants = loopback::Grants::persistent});
  expect_writes_and_reads(*frontend_);
  ASSERT_GT(xen_.usage().mapped_pages, 2U);
  while (xen_.usage().mapped_pages > 2) {
    host_->age_grants();
    std::this_thread::yield();
  }
  expect_writes_and_reads(*frontend_);
  EXPECT_GT(xen_.usage().mapped_pages, 2U);
  remove(raw);
}

TEST_F(Features, PersistentGrantsAreNotOfferedByDefault) {
  connect(disk(raw_image()), {.grants = loopback::Grants::persistent});
  EXPECT_FALSE(frontend_->properties().persistent);
  expect_writes_and_reads(*frontend_);
}

TEST_F(Features, TheDataPathOfADiskWinsOverTheConfiguration) {
  auto raw = disk(raw_image());
  raw.extra["data-path"] = "persistent";
  connect(raw, {.grants = loopback::Grants::persistent});
  EXPECT_TRUE(frontend_->properties().persistent);
  expect_writes_and_reads(*frontend_);
  remove(raw);
  restart({.persistent_grants = true});
  raw.extra["data-path"] = "copy";
  connect(raw, {.grants = loopback::Grants::persistent});
  EXPECT_FALSE(frontend_->properties().persistent);
}

TEST_F(Features, ADataPathThatIsNotKnownIsToldAndTheConfiguredOneIsOffered) {
  restart({.persistent_grants = true});
  auto raw = disk(raw_image());
  raw.extra["data-path"] = "fast";
  connect(raw, {.grants = loopback::Grants::persistent});
  EXPECT_TRUE(frontend_->properties().persistent);
  EXPECT_NE(log_text().find("data-path is \"fast\", must be auto, copy or persistent"),
            std::string::npos)
      << log_text();
}

// --- a daemon with other settings takes over ---
TEST_F(Features, AFrontendKeepsGivingItsPagesBackWhenTheNextDaemonWouldKeepThem) {
  const auto raw = disk(raw_image());
  connect(raw, {.grants = loopback::Grants::persistent});
  restart({.persistent_grants = true});
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(xen_.usage().mapped_pages, 1U) << "the ring";
  EXPECT_EQ(node(raw, "feature-persistent"), "0");
}

TEST_F(Features, AFrontendKeepsWhatTheNextDaemonDoesNotOffer) {
  restart({.persistent_grants = true});
  const auto raw = disk(raw_image());
  connect(raw, {.queue = {.depth = 8, .segments_max = 256},
                .queues = 2,
                .keys = loopback::RingKeys::ring_page_order,
                .grants = loopback::Grants::persistent});
  end_host();
  start_host({.offer = {.max_ring_order = 0, .max_queues = 1, .max_indirect_segments = 0}});
  expect_large_requests(256, kDiskBytes);
  EXPECT_GT(xen_.usage().mapped_pages, 2U);
  remove(raw);
}

// --- sectors of 4 KiB ---
TEST_P(EveryLayout, ServesSectorsOf4KibWhereConfigured) {
  restart({.logical_sector_bytes = 4096});
  const auto path = directory_.make_file("odd.raw", kDiskBytes + 7 * 512, 'r');
  const auto raw = disk("raw:" + path);
  connect(raw, {.queue = {.layout = GetParam()}});
  EXPECT_EQ(frontend_->properties().sector_bytes, 4096U);
  EXPECT_EQ(frontend_->properties().sectors.n, kDiskBytes / kSectorBytes) << "whole sectors only";
  EXPECT_EQ(node(raw, "physical-sector-size"), "4096");
  std::vector<std::byte> page(4096), part(512);
  EXPECT_EQ(frontend_->read({1}, page).value(), Status::error);
  EXPECT_EQ(frontend_->read({8}, part).value(), Status::error);
  EXPECT_EQ(frontend_->write({8}, part).value(), Status::error);
  EXPECT_EQ(frontend_->discard({8}, {7}).value(), Status::error);
  EXPECT_EQ(frontend_->read({kDiskBytes / kSectorBytes}, page).value(), Status::error);
  expect_writes_and_reads(*frontend_);
}

// --- growing ---
class Growing : public Features {
 protected:
  void SetUp() override {
    start_host({.offer = {.max_queues = 2}, .workers = 2, .open_image = [this](auto&, auto) {
                  return Expected<std::shared_ptr<Image>>(image_);
                }});
  }
  void TearDown() override {
    Features::TearDown();
    image_.reset();
  }
  // Everything that was asked for before has been done when this image's size was looked at.
  void reread() { host_->reread_capacities(); }
  std::shared_ptr<ringio::test::MemoryImage> image_ =
      std::make_shared<ringio::test::MemoryImage>(SectorCount{1024});
};

TEST_F(Growing, IsSeenByTheGuestWithoutANewSession) {
  const auto growing = disk("memory");
  connect(growing, {.queues = 2, .keys = loopback::RingKeys::ring_page_order});
  std::vector<std::byte> data(4096, std::byte{7}), back(4096);
  EXPECT_EQ(frontend_->write({1500}, data).value(), Status::error);
  auto store = guest_->open_store();
  const auto state = backend_path(growing) + "/state";
  ASSERT_TRUE(store->watch(state, "again").has_value());
  ASSERT_TRUE(store->next_event().has_value()) << "the one at registration";
  image_->resize({2048});
  reread();
  expect_node(growing, "sectors", "2048");
  expect_node(growing, "state", "4");
  EXPECT_TRUE(store->next_event().value().has_value()) << "Connected was written again";
  ASSERT_TRUE(frontend_->reread_properties().has_value());
  EXPECT_EQ(frontend_->properties().sectors.n, 2048U);
  expect_okay(frontend_->write({1500}, data));
  expect_okay(frontend_->read({1500}, back));
  EXPECT_EQ(back, data);
  remove(growing);
}

TEST_F(Growing, ToLessIsRefused) {
  const auto growing = disk("memory");
  connect(growing);
  image_->resize({512});
  reread();
  expect_node(growing, "sectors", "1024");
  // Images are read and closed one after the other, so this waits for the answer.
  remove(growing);
  EXPECT_NE(log_text().find("stays as large as it is: memory: has become smaller"),
            std::string::npos)
      << log_text();
}

TEST_F(Features, ARawDiskGrowsWithItsFile) {
  const auto path = directory_.make_file("growing.raw", 512 * 1024);
  const auto raw = disk("raw:" + path);
  connect(raw);
  std::filesystem::resize_file(path, 1024 * 1024);
  host_->reread_capacities();
  expect_node(raw, "sectors", "2048");
  ASSERT_TRUE(frontend_->reread_properties().has_value());
  std::vector<std::byte> data(4096, std::byte{7}), back(4096);
  expect_okay(frontend_->write({2040}, data));
  expect_okay(frontend_->read({2040}, back));
  EXPECT_EQ(back, data);
  remove(raw);
}

TEST_F(Features, AVhdDoesNotGrowByItself) {
  const auto vhd = disk(vhd_image());
  connect(vhd);
  host_->reread_capacities();
  remove(vhd);
  EXPECT_NE(log_text().find("stays as large as it is"), std::string::npos) << log_text();
}

}  // namespace
}  // namespace xenblk::backend
