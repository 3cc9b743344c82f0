// Sessions from the toolstack's first node to the last answer: every layout, ring size, number of
// queues and key scheme, with raw and VHD images, end to end.
#include <tuple>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

using blkif::Layout;
using loopback::RingKeys;

class Session : public LoopbackTest {};

struct Shape {
  Layout layout;
  std::uint32_t pages;
  std::uint32_t queues;
};

class EveryShape
    : public LoopbackTest,
      public testing::WithParamInterface<std::tuple<Layout, std::uint32_t, std::uint32_t>> {
 protected:
  loopback::FrontendOptions options() const {
    const auto [layout, pages, queues] = GetParam();
    return {.queue = {.layout = layout, .ring_pages = pages},
            .queues = queues,
            .keys = RingKeys::ring_page_order};
  }
};
INSTANTIATE_TEST_SUITE_P(
    Session, EveryShape,
    testing::Combine(testing::Values(Layout::native, Layout::x86_32, Layout::x86_64),
                     testing::Values(1U, 4U, 16U), testing::Values(1U, 2U, 8U)));

TEST_P(EveryShape, ServesARawDisk) {
  const auto raw = disk(raw_image());
  connect(raw, options());
  expect_writes_and_reads(*frontend_);
  remove(raw);
}

TEST_P(EveryShape, ServesADynamicVhd) {
  const auto vhd = disk(vhd_image());
  connect(vhd, options());
  expect_writes_and_reads(*frontend_);
  remove(vhd);
}

class EveryKey : public LoopbackTest, public testing::WithParamInterface<RingKeys> {};
INSTANTIATE_TEST_SUITE_P(Session, EveryKey,
                         testing::Values(RingKeys::ring_ref, RingKeys::ring_page_order,
                                         RingKeys::num_ring_pages));

TEST_P(EveryKey, TellsARingOfOnePage) {
  connect(disk(raw_image()), {.keys = GetParam()});
  expect_writes_and_reads(*frontend_);
}

TEST_F(Session, TakesAMissingProtocolForX86_32) {
  connect(disk(raw_image()), {.queue = {.layout = Layout::x86_32}, .write_protocol = false});
  expect_writes_and_reads(*frontend_);
}

TEST_F(Session, PublishesSizeAndFeatures) {
  connect(disk(raw_image()));
  const auto& properties = frontend_->properties();
  EXPECT_EQ(properties.sectors.n, kDiskBytes / kSectorBytes);
  EXPECT_EQ(properties.sector_bytes, 512U);
  EXPECT_EQ(properties.info, 0U);
  EXPECT_TRUE(properties.flush);
  EXPECT_TRUE(properties.barrier);
  EXPECT_FALSE(properties.persistent);
  EXPECT_TRUE(properties.discard);
}

TEST_F(Session, FlushesAndServesBarriers) {
  connect(disk(vhd_image()));
  std::vector<std::byte> data(8192, std::byte{0x5a}), back(8192);
  expect_okay(frontend_->write_barrier({8}, data));
  expect_okay(frontend_->flush());
  expect_okay(frontend_->read({8}, back));
  EXPECT_EQ(back, data);
}

TEST_F(Session, RefusesWritesToAReadOnlyDisk) {
  auto readonly = disk(raw_image());
  readonly.mode = "r";
  connect(readonly);
  EXPECT_EQ(frontend_->properties().info, blkif::kInfoReadOnly);
  std::vector<std::byte> data(512), back(512);
  EXPECT_EQ(frontend_->write({0}, data).value(), blkif::Status::error);
  expect_okay(frontend_->read({0}, back));
  EXPECT_EQ(back[0], std::byte{'r'});
}

TEST_F(Session, SaysThatACdromIsOne) {
  auto cdrom = disk(raw_image());
  cdrom.mode = "r";
  cdrom.device_type = "cdrom";
  connect(cdrom);
  EXPECT_EQ(frontend_->properties().info,
            blkif::kInfoCdrom | blkif::kInfoRemovable | blkif::kInfoReadOnly);
}

TEST_F(Session, SharesOneImageBetweenTwoDisks) {
  const auto image = vhd_image();
  const auto first = disk(image), second = disk(image, 51728);
  connect(first);
  toolstack_.add_disk(second);
  auto other = make_frontend({.device = {51728}});
  ASSERT_TRUE(other->connect().has_value()) << log_text();
  std::vector<std::byte> data(4096, std::byte{7}), back(4096);
  expect_okay(frontend_->write({64}, data));
  expect_okay(other->read({64}, back));
  EXPECT_EQ(back, data);
}

TEST_F(Session, KeepsWhatWasWrittenOverDetachAndAttach) {
  const auto vhd = disk(vhd_image());
  std::vector<std::byte> data(44 << 10, std::byte{9}), back(44 << 10);
  connect(vhd);
  expect_okay(frontend_->write({1000}, data));
  remove(vhd);
  connect(vhd);
  expect_okay(frontend_->read({1000}, back));
  EXPECT_EQ(back, data);
}

TEST_F(Session, FindsDevicesThatWereThereBeforeTheDaemon) {
  end_host();
  const auto early = disk(raw_image());
  toolstack_.add_disk(early);
  start_host();
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  expect_writes_and_reads(*frontend_);
}

TEST_F(Session, GoesOnWithTheNextDaemonOnTheSameRings) {
  connect(disk(vhd_image()),
          {.queue = {.ring_pages = 4}, .queues = 2, .keys = RingKeys::ring_page_order});
  expect_writes_and_reads(*frontend_, 1);
  for (std::uint64_t daemon = 2; daemon < 5; ++daemon) {
    end_host();
    start_host();
    expect_writes_and_reads(*frontend_, daemon);
  }
}

TEST_F(Session, PublishesThroughConflictingTransactions) {
  xen_.faults().commit_conflicts.set(20);
  // The toolstack's own commits conflict too, until the budget is used up.
  connect(disk(raw_image()));
  expect_writes_and_reads(*frontend_);
}

}  // namespace
}  // namespace xenblk::backend
