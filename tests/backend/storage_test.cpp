// A storage that fails under a connected guest, on the whole way from the image to what its
// administrator sees.
#include <thread>

#include "backend/storage_wishes.h"
#include "tests/backend/loopback_fixture.h"
#include "tests/ringio/memory_image.h"

namespace xenblk::backend {
namespace {

using ringio::OnFailure;
using ringio::StoragePolicy;

TEST(StorageWishes, ThoseOfTheDiskWin) {
  const StorageWishes wishes{.of_all = {OnFailure::stop, OnFailure::pause},
                             .of_disk = {{"web1:xvda", {{}, OnFailure::stop}}}};
  EXPECT_EQ(StorageWishes{}.policy("web1:xvda", {}),
            (StoragePolicy{OnFailure::report, OnFailure::report}));
  EXPECT_EQ(wishes.policy("web1:xvdb", {}), (StoragePolicy{OnFailure::stop, OnFailure::pause}));
  EXPECT_EQ(wishes.policy("web1:xvda", {}), (StoragePolicy{OnFailure::stop, OnFailure::stop}));
  EXPECT_EQ(wishes.policy("web1:xvda", {OnFailure::pause, {}}),
            (StoragePolicy{OnFailure::pause, OnFailure::stop}));
}

class FailingDisk : public LoopbackTest {
 protected:
  void SetUp() override { start({OnFailure::pause, OnFailure::pause}); }
  void start(const FailureWishes& wishes) {
    start_host({.journal_directory = directory_.path("journal"),
                .offer = {.max_ring_order = 4, .max_queues = 8},
                .workers = 2,
                .storage = {.of_all = wishes},
                .open_image = [this](const std::string&, Access) { return image_; }});
  }
  void restart_with(const FailureWishes& wishes) {
    end_host();
    start(wishes);
  }
  void connect_disk() {
    disk_ = disk("raw:/memory");
    connect(disk_);
  }
  // A guest's thread that writes one sector; its answer.
  void begin_write() {
    answer_.reset();
    guest_thread_ = std::thread([this] { answer_ = frontend_->write({8}, sector_); });
  }
  blkif::Status written() {
    guest_thread_.join();
    EXPECT_TRUE(answer_ && answer_->has_value());
    return answer_ && *answer_ ? **answer_ : blkif::Status::eopnotsupp;
  }
  void expect_state(const std::string& state) { expect_node(disk_, "storage-state", state); }
  std::size_t times_logged(const std::string& text) {
    std::size_t count = 0;
    const auto log = log_text();
    for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++count;
    return count;
  }

  std::shared_ptr<ringio::test::MemoryImage> image_ =
      std::make_shared<ringio::test::MemoryImage>(SectorCount{kDiskBytes / kSectorBytes});
  loopback::Disk disk_;
  std::vector<std::byte> sector_ = std::vector<std::byte>(512, std::byte{0x5a});
  std::optional<Expected<blkif::Status>> answer_;
  std::thread guest_thread_;
};

TEST_F(FailingDisk, WaitsAndGoesOnWithOneLineInTheLogForEach) {
  connect_disk();
  image_->fail_changes(IoStatus::no_space);
  begin_write();
  expect_state("waiting");
  image_->fail_changes(IoStatus::okay);
  EXPECT_EQ(written(), blkif::Status::okay);
  expect_state("good");
  EXPECT_EQ(image_->sectors(8, 1)[0], std::byte{0x5a});
  EXPECT_EQ(times_logged("the storage has failed (write at sector 8: no space left): the guest "
                         "waits until it is good again"),
            1U)
      << log_text();
  EXPECT_EQ(times_logged("the storage is good again, and the guest goes on"), 1U) << log_text();
}

TEST_F(FailingDisk, StillWaitsWhileNoDaemonRuns) {
  connect_disk();
  image_->fail_changes(IoStatus::io_error);
  begin_write();
  expect_state("waiting");
  end_host();
  EXPECT_EQ(node(disk_, "storage-state"), "waiting");
  image_->fail_changes(IoStatus::okay);
  start({OnFailure::pause, OnFailure::pause});
  EXPECT_EQ(written(), blkif::Status::okay);
  expect_state("good");
}

// The journal has what is kept, so the next daemon goes on with it.
TEST_F(FailingDisk, TheNextDaemonGoesOnWithWhatIsKept) {
  connect_disk();
  image_->fail_changes(IoStatus::io_error);
  begin_write();
  expect_state("waiting");
  restart_with({OnFailure::pause, OnFailure::pause});
  expect_state("waiting");
  image_->fail_changes(IoStatus::okay);
  EXPECT_EQ(written(), blkif::Status::okay);
  EXPECT_EQ(image_->sectors(8, 1)[0], std::byte{0x5a});
  expect_writes_and_reads(*frontend_);
}

TEST_F(FailingDisk, AnotherPolicyOfTheNextDaemonCountsForWhatIsKept) {
  connect_disk();
  image_->fail_changes(IoStatus::io_error);
  begin_write();
  expect_state("waiting");
  restart_with({});
  EXPECT_EQ(written(), blkif::Status::error);
}

TEST_F(FailingDisk, ClosesWhileItWaits) {
  connect_disk();
  image_->fail_changes(IoStatus::io_error);
  begin_write();
  expect_state("waiting");
  EXPECT_TRUE(toolstack_.force_remove_disk(disk_, kPatience)) << log_text();
  EXPECT_EQ(written(), blkif::Status::error);
  frontend_.reset();
}

TEST_F(FailingDisk, AStoppedDiskStaysSoOverTheNextDaemon) {
  connect_disk();
  restart_with({OnFailure::stop, {}});
  image_->fail_next(IoStatus::io_error);
  begin_write();
  EXPECT_EQ(written(), blkif::Status::error);
  expect_state("stopped");
  restart_with({});
  const auto read = frontend_->read({0}, sector_);
  EXPECT_EQ(read.value(), blkif::Status::error);
  host_->run([](EventLoop&, Backend& backend) {
    EXPECT_TRUE(backend.devices().begin()->second->resume().has_value());
  });
  expect_okay(frontend_->read({0}, sector_));
  expect_state("good");
}

TEST_F(FailingDisk, TheNodesOfADiskWinOverTheConfiguration) {
  disk_ = disk("raw:/memory");
  disk_.extra = {{"on-error", "report"}, {"on-enospc", "pause"}};
  connect(disk_);
  image_->fail_next(IoStatus::io_error);
  EXPECT_EQ(frontend_->write({0}, sector_).value(), blkif::Status::error);
}

TEST_F(FailingDisk, AWordThatIsNotKnownIsAnErrorOfTheDisk) {
  disk_ = disk("raw:/memory");
  disk_.extra = {{"on-enospc", "wait"}};
  toolstack_.add_disk(disk_);
  expect_node(disk_, "hotplug-error", "on-enospc is \"wait\", must be report, pause or stop");
}

}  // namespace
}  // namespace xenblk::backend
