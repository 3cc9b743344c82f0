// Drives whose medium the toolstack changes under a running guest: it rewrites `params`, with
// nothing in it for an empty drive (libxl_cdrom_insert; xenopsd does the same).
#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

using blkif::Op;
using blkif::Status;

class Drive : public LoopbackTest {
 protected:
  loopback::Disk drive(const std::string& params) const {
    auto drive = disk(params);
    drive.mode = "r";
    drive.device_type = "cdrom";
    return drive;
  }
  // A medium of `sectors` full of `content`.
  std::string medium(const std::string& name, std::uint64_t sectors, char content) {
    return "raw:" + directory_.make_file(name, sectors * kSectorBytes, content);
  }
  void insert(const loopback::Disk& drive, const std::string& params) {
    set_node(backend_path(drive) + "/params", params);
  }
  void expect_medium(std::uint64_t sectors, char content) {
    ASSERT_TRUE(frontend_->reread_properties().has_value());
    EXPECT_EQ(frontend_->properties().sectors.n, sectors);
    std::vector<std::byte> data(512);
    expect_okay(frontend_->read({sectors - 1}, data));
    EXPECT_EQ(data, std::vector<std::byte>(512, std::byte(content)));
    EXPECT_EQ(frontend_->read({sectors}, data).value(), Status::error);
  }
  void expect_no_medium() {
    std::vector<std::byte> data(512);
    EXPECT_EQ(frontend_->read({0}, data).value(), Status::error);
  }
  std::uint64_t log_count(const std::string& text) {
    std::uint64_t count = 0;
    const auto log = log_text();
    for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }
};

TEST_F(Drive, AnEmptyDriveIsADiskWithoutSectors) {
  auto drive = disk("");
  drive.mode = "r";
  drive.device_type = "cdrom";
  connect(drive);
  EXPECT_EQ(frontend_->properties().sectors.n, 0U);
  EXPECT_EQ(frontend_->properties().info,
            blkif::kInfoCdrom | blkif::kInfoRemovable | blkif::kInfoReadOnly);
  std::vector<std::byte> data(512);
  EXPECT_EQ(frontend_->read({0}, data).value(), Status::error);
  expect_okay(frontend_->flush());
  host_->reread_capacities();
  remove(drive);
}

TEST_F(Drive, ADiskWithoutAnImageIsNoEmptyDrive) {
  const auto nothing = disk("");
  toolstack_.add_disk(nothing);
  expect_node(nothing, "image-state", "failed");
}

// --- another medium ---
TEST_F(Drive, GetsAnotherMediumUnderARunningGuest) {
  const auto cdrom = drive(medium("first.iso", 1024, 'a'));
  connect(cdrom);
  expect_medium(1024, 'a');
  for (int round = 0; round < 3; ++round) {
    insert(cdrom, medium("second.iso", 64, 'b'));
    expect_node(cdrom, "sectors", "64");
    expect_medium(64, 'b');
    insert(cdrom, "");
    expect_node(cdrom, "sectors", "0");
    expect_no_medium();
    insert(cdrom, medium("third.iso", 2048, 'c'));
    expect_node(cdrom, "sectors", "2048");
    expect_medium(2048, 'c');
  }
  EXPECT_EQ(node(cdrom, "state"), "4");
  EXPECT_EQ(frontend_->violation(), std::nullopt);
  remove(cdrom);
}

TEST_F(Drive, TellsTheGuestByWritingConnectedAgain) {
  const auto cdrom = drive(medium("first.iso", 1024, 'a'));
  connect(cdrom);
  auto store = guest_->open_store();
  ASSERT_TRUE(store->watch(backend_path(cdrom) + "/state", "again").has_value());
  ASSERT_TRUE(store->next_event().has_value()) << "the one at registration";
  insert(cdrom, "");
  expect_node(cdrom, "sectors", "0");
  EXPECT_TRUE(store->next_event().value().has_value());
  EXPECT_EQ(node(cdrom, "state"), "4");
}

TEST_F(Drive, IsFilledWhenItWasEmptyAtFirst) {
  const auto cdrom = drive("");
  connect(cdrom);
  expect_no_medium();
  insert(cdrom, medium("first.iso", 128, 'a'));
  expect_node(cdrom, "sectors", "128");
  expect_medium(128, 'a');
  remove(cdrom);
}

TEST_F(Drive, GivesTheOldMediumBack) {
  const auto old = medium("first.iso", kDiskBytes / kSectorBytes, 'a');
  const auto cdrom = drive(old);
  connect(cdrom);
  insert(cdrom, "");
  expect_node(cdrom, "sectors", "0");
  connect(disk(old, 51728));  // for writing: nobody has it open any more
  expect_writes_and_reads(*frontend_);
}

TEST_F(Drive, IsEmptyAndSaysWhyWhenAMediumCannotBeOpened) {
  const auto cdrom = drive(medium("first.iso", 1024, 'a'));
  connect(cdrom);
  insert(cdrom, "raw:/nowhere/missing.iso");
  expect_node(cdrom, "sectors", "0");
  expect_no_medium();
  EXPECT_EQ(node(cdrom, "state"), "4");
  EXPECT_EQ(error_node(cdrom),
            "the drive is empty: /nowhere/missing.iso: No such file or directory");
  insert(cdrom, medium("second.iso", 64, 'b'));
  expect_node(cdrom, "sectors", "64");
  expect_medium(64, 'b');
  EXPECT_EQ(error_node(cdrom), "missing");
  remove(cdrom);
}

TEST_F(Drive, IsTriedOnceForEachMedium) {
  const auto cdrom = drive("");
  connect(cdrom);
  for (const auto* path : {"raw:/nowhere/a.iso", "raw://nowhere/a.iso"}) {
    insert(cdrom, path);
    EXPECT_TRUE(wait_for_node(
        toolstack_.store(), error_path(cdrom),
        [&](const auto& seen) { return seen && seen->find(path + 4) != std::string::npos; },
        kPatience))
        << log_text();
    set_node(backend_path(cdrom) + "/unrelated", "1");
  }
  remove(cdrom);
  EXPECT_EQ(log_count("the drive is empty"), 2U) << log_text();
}

TEST_F(Drive, StaysEmptyForTheNextDaemonAndForTheGuestsNextKernel) {
  const auto cdrom = drive("");
  connect(cdrom);
  insert(cdrom, "raw:/nowhere/missing.iso");
  EXPECT_TRUE(wait_for_node(
      toolstack_.store(), error_path(cdrom), [](const auto& seen) { return seen.has_value(); },
      kPatience));
  end_host();
  start_host();
  expect_no_medium();
  ASSERT_TRUE(frontend_->close().has_value());
  ASSERT_TRUE(frontend_->reinitialise().has_value());
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  EXPECT_EQ(frontend_->properties().sectors.n, 0U);
  remove(cdrom);
}

TEST_F(Drive, MayBeChangedBeforeTheGuestConnects) {
  const auto cdrom = drive(medium("first.iso", 1024, 'a'));
  toolstack_.add_disk(cdrom);
  expect_node(cdrom, "image-state", "open");
  insert(cdrom, medium("second.iso", 64, 'b'));
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  expect_node(cdrom, "sectors", "64");
  expect_medium(64, 'b');
  remove(cdrom);
}

TEST_F(Drive, GoesOnThroughChangesUnderLoad) {
  const auto first = medium("first.iso", 4096, 'a'), second = medium("second.iso", 4096, 'b');
  const auto cdrom = drive(first);
  connect(cdrom, {.queues = 2, .keys = loopback::RingKeys::ring_page_order});
  std::jthread changes([&, toolstack = loopback::LoopbackToolstack(xen_)](
                           const std::stop_token& stop) mutable {
    for (int round = 0; !stop.stop_requested(); ++round) {
      const auto& next = round % 2 == 0 ? second : first;
      EXPECT_TRUE(toolstack.store().write(backend_path(cdrom) + "/params", next, {}).has_value());
      std::this_thread::yield();
    }
  });
  const auto result = run_load(
      frontend_->queue(),
      {.op = Op::read, .length = {4096}, .depth = 16, .requests = 20000, .patience = kPatience});
  EXPECT_EQ(result.violation, std::nullopt) << log_text();
  EXPECT_EQ(result.failed, 0U);
  changes.request_stop();
  changes.join();
  remove(cdrom);
}

TEST_F(Drive, IsTheOnlyDiskWhoseImageChanges) {
  const auto raw = disk(raw_image());
  connect(raw);
  set_node(backend_path(raw) + "/params", "");
  set_node(backend_path(raw) + "/params", raw_image("other.raw"));
  expect_writes_and_reads(*frontend_);
  remove(raw);
  EXPECT_EQ(log_count("is open"), 1U) << log_text();
}

}  // namespace
}  // namespace xenblk::backend
