// The next daemon under running guests: what it finds in the journals, and what it does when they
// are not what it needs. Daemons that are killed: tests/ringio/killed_backend_test.cpp, and on the
// real Xen tests/xen.
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "ringio/in_flight_journal.h"
#include "tests/backend/loopback_fixture.h"
#include "vhd/host_file.h"

namespace xenblk::backend {
namespace {

using ringio::JournalState;

class Restart : public LoopbackTest {
 protected:
  void SetUp() override { start(); }
  void start() {
    start_host({.journal_directory = directory_.path("journal"),
                .offer = {.max_ring_order = 4, .max_queues = 8},
                .workers = 2});
  }
  void connect_two_queues() {
    disk_ = disk(raw_image());
    connect(disk_,
            {.queue = {.ring_pages = 2}, .queues = 2, .keys = loopback::RingKeys::ring_page_order});
    expect_writes_and_reads(*frontend_, 1);
  }
  std::string journal(int queue) {
    return directory_.path("journal/vbd-7-51712-" + std::to_string(queue));
  }
  std::size_t journals() {
    const std::filesystem::directory_iterator files(directory_.path("journal"));
    return static_cast<std::size_t>(std::distance(begin(files), end(files)));
  }
  ringio::JournalFile opened(int queue) {
    return std::move(*ringio::JournalFile::open(journal(queue)));
  }
  // The disk is as the guest left it, but nobody serves it and the reason can be read.
  void expect_held(const std::string& reason) {
    expect_node(disk_, "hotplug-error",
                journal(0) + ": " + reason +
                    "; the disk is left as it is until it is detached or its guest ends");
    EXPECT_EQ(node(disk_, "state"), "4");
    expect_error_node(reason);
  }
  void expect_error_node(const std::string& reason) {
    EXPECT_TRUE(wait_for_node(
        toolstack_.store(), error_path(disk_),
        [&](const auto& seen) { return seen && seen->find(reason) != std::string::npos; },
        kPatience));
  }
  void expect_in_log(const std::string& text) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (log_text().find(text) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << log_text();
      std::this_thread::yield();
    }
  }

  loopback::Disk disk_;
};

TEST_F(Restart, KeepsAJournalForEachQueueAsLongAsItIsConnected) {
  connect_two_queues();
  EXPECT_EQ(journals(), 2U);
  struct stat status = {};
  ASSERT_EQ(::stat(journal(0).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(opened(0).header().state, JournalState::in_use);
  end_host();
  EXPECT_EQ(journals(), 2U);
  EXPECT_EQ(opened(0).header().state, JournalState::drained);
  start();
  expect_writes_and_reads(*frontend_, 2);
  remove(disk_);
  EXPECT_EQ(journals(), 0U);
}

TEST_F(Restart, GoesOnAfterADaemonThatDidNotEnd) {
  connect_two_queues();
  end_host();
  for (const int queue : {0, 1}) opened(queue).header().state = JournalState::in_use;
  start();
  expect_writes_and_reads(*frontend_, 2);
  EXPECT_NE(log_text().find("taken over"), std::string::npos) << log_text();
}

TEST_F(Restart, LeavesADiskAloneWhoseJournalIsMissing) {
  connect_two_queues();
  end_host();
  std::filesystem::remove(journal(0));
  start();
  expect_held("the daemon before left no journal");
  // The way out, and the next connection is like any other.
  remove(disk_);
  connect_two_queues();
}

TEST_F(Restart, ClosesADiskThatIsLeftAlone) {
  connect_two_queues();
  end_host();
  std::filesystem::remove(journal(0));
  start();
  expect_held("the daemon before left no journal");
  host_->run([](EventLoop&, Backend& backend) {
    const auto asked = backend.devices().begin()->second->request_close();
    EXPECT_TRUE(asked.has_value()) << describe(asked.error());
  });
  expect_node(disk_, "state", "6");
  host_->run([](EventLoop&, Backend& backend) {
    EXPECT_TRUE(backend.devices().begin()->second->at_rest());
  });
}

TEST_F(Restart, LeavesADiskAloneWhoseJournalIsOfAnotherVersionAndWaitsForTheRightDaemon) {
  connect_two_queues();
  end_host();
  {
    auto journal = opened(0);
    journal.header().version = 9;
    journal.header().state = JournalState::in_use;
  }
  start();
  expect_held(
      "the journal is of version 9, this daemon knows version 1: start the daemon that "
      "wrote it, end it with SIGTERM, and start this one again");
  end_host();
  opened(0).header().state = JournalState::drained;  // which that daemon does
  start();
  expect_writes_and_reads(*frontend_, 2);
  expect_no_error_node(disk_);
}

TEST_F(Restart, LeavesADiskAloneWhoseJournalIsDamagedAndServesTheOthers) {
  connect_two_queues();
  const auto other = disk(raw_image("other.raw"), 51728);
  toolstack_.add_disk(other);
  auto frontend = make_frontend({.device = other.device});
  ASSERT_TRUE(frontend->connect().has_value());
  end_host();
  {
    auto journal = opened(0);
    journal.header().state = JournalState::in_use;
    journal.header().consumed += 5;
  }
  start();
  expect_held("the journal is damaged: requests are missing");
  expect_writes_and_reads(*frontend, 2);
  ASSERT_TRUE(frontend->close().has_value());
}

TEST_F(Restart, LeavesADiskAloneWhoseGuestHasMovedTheRing) {
  connect_two_queues();
  end_host();
  frontend_->queue(0).ring().store_index(blkif::RingOffsets::rsp_prod, 12345);
  start();
  expect_held("the ring's responses do not end where the journal left them");
}

// As a guest does that was about to be saved when its host thought better of it.
TEST_F(Restart, BeginsAnewWithAGuestThatMadeNewRingsMeanwhile) {
  connect_two_queues();
  end_host();
  opened(0).header().identity.port += 1;
  set_node("/local/domain/7/device/vbd/51712/state", "3");
  start();
  expect_in_log("taken over");
  EXPECT_EQ(node(disk_, "state"), "4");
  expect_writes_and_reads(*frontend_, 2);
}

TEST_F(Restart, ClosesADiskWhoseGuestHasGoneMeanwhile) {
  connect_two_queues();
  end_host();
  ASSERT_TRUE(toolstack_.store().remove("/local/domain/7/device/vbd/51712", {}).has_value());
  start();
  expect_node(disk_, "state", "6");
  EXPECT_EQ(journals(), 0U);
}

TEST_F(Restart, RemovesJournalsOfDevicesThatNoLongerExist) {
  connect_two_queues();
  end_host();
  std::filesystem::copy(journal(0), directory_.path("journal/vbd-9-51712-0"));
  std::filesystem::copy(journal(0), directory_.path("journal/somebody-elses"));
  start();
  expect_writes_and_reads(*frontend_, 2);
  EXPECT_FALSE(std::filesystem::exists(directory_.path("journal/vbd-9-51712-0")));
  EXPECT_TRUE(std::filesystem::exists(directory_.path("journal/somebody-elses")));
}

TEST_F(Restart, WaitsUntilTheImageOfADeadDaemonIsFree) {
  connect_two_queues();
  end_host();
  {
    const auto held = vhd::open_host_file(disk_.params.substr(4), {});
    ASSERT_TRUE(held.has_value());
    start();
    expect_in_log("waits for what an earlier daemon left");
    EXPECT_EQ(node(disk_, "state"), "4");
  }
  expect_writes_and_reads(*frontend_, 2);
}

TEST_F(Restart, WaitsForAnImageThatIsNotThereYet) {
  connect_two_queues();
  end_host();
  const auto image = disk_.params.substr(4);
  std::filesystem::rename(image, image + ".away");
  start();
  expect_error_node(image + ": No such file or directory");
  EXPECT_EQ(node(disk_, "state"), "4");
  std::filesystem::rename(image + ".away", image);
  expect_writes_and_reads(*frontend_, 2);
  expect_no_error_node(disk_);
}

TEST_F(Restart, WaitsForNoImageWhenTheGuestHasGone) {
  connect_two_queues();
  end_host();
  std::filesystem::remove(disk_.params.substr(4));
  start();
  expect_error_node(disk_.params.substr(4) + ": No such file or directory");
  ASSERT_TRUE(toolstack_.store().remove("/local/domain/7/device/vbd/51712", {}).has_value());
  expect_node(disk_, "state", "6");
}

TEST_F(Restart, StopsWaitingWhenItIsToEnd) {
  connect_two_queues();
  end_host();
  const auto held = vhd::open_host_file(disk_.params.substr(4), {});
  ASSERT_TRUE(held.has_value());
  start();
  expect_in_log("waits for what an earlier daemon left");
  end_host();
  EXPECT_EQ(node(disk_, "state"), "4");
}

}  // namespace
}  // namespace xenblk::backend
