// XenStore goes away under running disks: xenstored dies, and cannot be restarted under a host.
#include <chrono>
#include <thread>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

class LostStore : public LoopbackTest {
 protected:
  void lose_store() {
    xen_.lose_store_connections({0});
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (log_text().find("XenStore is gone") == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << log_text();
      std::this_thread::yield();
    }
  }
};

TEST_F(LostStore, LeavesTheRequestsOfGuestsAlone) {
  connect(disk(raw_image()));
  lose_store();
  expect_writes_and_reads(*frontend_, 2);
}

// What is looked at just then, or was to be, has not gone because it cannot be read.
TEST_F(LostStore, TakesNoDiskForGone) {
  const auto raw = disk(raw_image());
  connect(raw);
  for (int round = 0; round < 300; ++round) set_node(backend_path(raw) + "/online", "1");
  lose_store();
  expect_writes_and_reads(*frontend_, 2);
  EXPECT_FALSE(log_text().contains("disconnected")) << log_text();
}

// The next daemon finds it back, and the guest has noticed nothing.
TEST_F(LostStore, CostsNothingThatTheNextDaemonNeeds) {
  end_host();
  const BackendOptions options{.journal_directory = directory_.path("journal"), .workers = 2};
  start_host(options);
  connect(disk(raw_image()));
  lose_store();
  expect_writes_and_reads(*frontend_, 2);
  end_host();
  start_host(options);
  expect_writes_and_reads(*frontend_, 3);
}

}  // namespace
}  // namespace xenblk::backend
