// Disks as xapi's xenopsd makes them: no hotplug script that libxl runs, keys of its own in the
// backend's directory, and another way to end a disk (xenopsd, device.ml).
#include <unistd.h>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

class Xapi : public LoopbackTest {
 protected:
  loopback::Disk vbd3(const std::string& params) const {
    auto vbd = disk(params);
    vbd.kind = "vbd3";
    vbd.extra = {{"sm-data/vdi-uuid", "0ff2a7e0-7b3c-4b0c-8a33-1d1f6a3a4f0e"},
                 {"sm-data/storage-type", "ext"},
                 {"sm-data/scsi/0x12/default", ""},
                 {"physical-device", "fd:0"},
                 {"direct-io-safe", "1"},
                 {"polling-duration", "8000"},
                 {"polling-idle-threshold", "50"},
                 {"kthread-pid", "1"}};
    return vbd;
  }
  void ask_for_shutdown(const loopback::Disk& vbd, const std::string& how) {
    set_node(backend_path(vbd) + "/shutdown-request", how);
  }
};

TEST_F(Xapi, ADiskWithItsKeysIsServedAndChargedToTheDaemon) {
  const auto vbd = vbd3(vhd_image());
  connect(vbd);
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(node(vbd, "kthread-pid"), std::to_string(::getpid()));
  EXPECT_EQ(node(vbd, "sm-data/storage-type"), "ext");
  remove(vbd);
}

TEST_F(Xapi, TheHotplugStatusMayComeAndGoAtAnyTime) {
  const auto vbd = vbd3(raw_image());
  const auto status = backend_path(vbd) + "/hotplug-status";
  toolstack_.add_disk(vbd);
  set_node(status, "connected");  // before, or while, the image is opened
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  for (const auto* value : {"", "connected", "error"}) {
    set_node(status, value);
    expect_writes_and_reads(*frontend_);
  }
  ASSERT_TRUE(toolstack_.store().remove(status, {}).has_value());
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(node(vbd, "state"), "4");
  remove(vbd);
}

TEST_F(Xapi, AShutdownThatIsAskedForClosesWithTheGuestAndSaysSo) {
  const auto vbd = vbd3(raw_image());
  connect(vbd);
  set_node(backend_path(vbd) + "/online", "0");
  ask_for_shutdown(vbd, "normal");
  expect_node(vbd, "state", "5");
  EXPECT_EQ(node(vbd, "shutdown-done"), "missing") << "the guest still has it";
  ASSERT_TRUE(frontend_->close().has_value());
  expect_node(vbd, "shutdown-done", "");
  EXPECT_EQ(node(vbd, "state"), "6");
}

TEST_F(Xapi, AForcedShutdownDoesNotWaitForTheGuest) {
  const auto vbd = vbd3(raw_image());
  connect(vbd);
  ask_for_shutdown(vbd, "normal");
  expect_node(vbd, "state", "5");
  ask_for_shutdown(vbd, "force");
  expect_node(vbd, "shutdown-done", "");
  EXPECT_EQ(node(vbd, "state"), "6");
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
}

TEST_F(Xapi, AShutdownOfADiskThatNobodyUsesIsDoneAtOnce) {
  const auto vbd = vbd3(raw_image());
  toolstack_.add_disk(vbd);
  expect_node(vbd, "image-state", "open");
  ask_for_shutdown(vbd, "normal");
  expect_node(vbd, "shutdown-done", "");
  EXPECT_EQ(node(vbd, "state"), "6");
}

// --- a driver domain: the backend is not in domain 0 ---
class DriverDomain : public LoopbackTest {
 protected:
  static constexpr DomainId kDriver{5};
  std::shared_ptr<loopback::GuestDomain> driver_ = xen_.create_domain(kDriver);

  void SetUp() override {
    set_node("/local/domain/5/domid", "5");
    auto host = demo::LoopbackHost::start(xen_, {.workers = 1}, log_, kDriver);
    ASSERT_TRUE(host.has_value()) << describe(host.error());
    host_ = std::move(*host);
  }
  void TearDown() override {
    LoopbackTest::TearDown();
    EXPECT_TRUE(xen_.usage(kDriver).nothing_held());
  }
  loopback::Disk driver_disk(const std::string& params) const {
    auto served = disk(params);
    served.backend = kDriver;
    return served;
  }
};

TEST_F(DriverDomain, ServesGuestsAndRemovesWhatDomain0WaitsFor) {
  const auto served = driver_disk(raw_image());
  connect(served, {.queue = {.backend = kDriver}});
  expect_writes_and_reads(*frontend_);
  toolstack_.request_removal(served);
  ASSERT_TRUE(frontend_->close().has_value()) << log_text();
  EXPECT_TRUE(wait_for_node(
      toolstack_.store(), backend_path(served), [](const auto& seen) { return !seen; }, kPatience))
      << log_text();
}

TEST_F(DriverDomain, KeepsTheDirectoryOfADiskThatMayComeBack) {
  const auto served = driver_disk(raw_image());
  connect(served, {.queue = {.backend = kDriver}});
  ASSERT_TRUE(frontend_->close().has_value());
  ASSERT_TRUE(frontend_->reinitialise().has_value());
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  expect_writes_and_reads(*frontend_);
}

TEST_F(DriverDomain, LeavesDisksOfDomain0Alone) {
  const auto other = disk(raw_image("other.raw"), 51728);
  toolstack_.add_disk(other);
  const auto served = driver_disk(raw_image());
  connect(served, {.queue = {.backend = kDriver}});
  EXPECT_EQ(node(other, "state"), "1");
}

}  // namespace
}  // namespace xenblk::backend
