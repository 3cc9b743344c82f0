// Bad images, bad nodes and bad rings: the device says why, closes, and disturbs nobody.
#include <fcntl.h>

#include <array>
#include <chrono>
#include <thread>

#include "tests/backend/loopback_fixture.h"

namespace xenblk::backend {
namespace {

class Refusal : public LoopbackTest {
 protected:
  // Adds a disk whose image must be refused; the reason that the toolstack reads.
  std::string refused_image(const std::string& params) {
    bad_ = disk(params, 51728);
    toolstack_.add_disk(bad_);
    expect_node(bad_, "image-state", "failed");
    EXPECT_EQ(node(bad_, "state"), "2") << "the script has yet to read the reason";
    const auto reason = node(bad_, "hotplug-error");
    set_node(backend_path(bad_) + "/hotplug-status", "error");
    expect_node(bad_, "state", "5");
    EXPECT_EQ(error_node(bad_), reason);
    EXPECT_NE(log_text().find(reason), std::string::npos);
    return reason;
  }
  // Offers these values with otherwise good keys; the reason for which the session is refused.
  std::string refused_key(const std::string& key, const std::string& value) {
    bad_ = disk(raw_image());
    toolstack_.add_disk(bad_);
    frontend_ = make_frontend();
    EXPECT_TRUE(frontend_->wait_for_offer().has_value());
    expect_node(bad_, "image-state", "open");
    xen_.faults().set_garbage(frontend_->path() + "/" + key, value);
    EXPECT_TRUE(frontend_->publish_rings().has_value());
    expect_node(bad_, "state", "5");
    xen_.faults().clear_nodes();
    return node(bad_, "hotplug-error");
  }
  void expect_next_session_works() {
    ASSERT_TRUE(frontend_->close().has_value()) << log_text();
    expect_node(bad_, "state", "6");
    ASSERT_TRUE(frontend_->reinitialise().has_value());
    ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
    expect_writes_and_reads(*frontend_);
  }
  loopback::Disk bad_;
};

TEST_F(Refusal, OfAMissingImageLeavesOtherDisksAlone) {
  connect(disk(raw_image()));
  const auto path = directory_.path("missing.img");
  EXPECT_EQ(refused_image("raw:" + path), path + ": No such file or directory");
  expect_writes_and_reads(*frontend_);
  EXPECT_TRUE(toolstack_.remove_disk(bad_, kPatience));
  expect_no_error_node(bad_);
}

TEST_F(Refusal, OfADirectory) {
  EXPECT_NE(refused_image("raw:" + directory_.path("")).find(directory_.path("")),
            std::string::npos);
}

TEST_F(Refusal, OfAnUnknownPrefix) {
  EXPECT_NE(refused_image("qcow2:/srv/a.qcow2").find("qcow2"), std::string::npos);
}

TEST_F(Refusal, OfATruncatedVhd) {
  const auto image = vhd_image();
  ASSERT_EQ(::truncate(image.substr(4).c_str(), 700), 0);
  EXPECT_NE(refused_image(image).find(image.substr(4)), std::string::npos);
}

TEST_F(Refusal, OfARawFileAsVhd) {
  const auto path = directory_.make_file("not.vhd", 1 << 20, 'x');
  EXPECT_NE(refused_image("vhd:" + path).find(path), std::string::npos);
}

TEST_F(Refusal, OfAnImageThatAnotherOneHolds) {
  const auto image = raw_image();
  const int other = ::open(image.substr(4).c_str(), O_RDWR | O_CLOEXEC);
  struct flock lock{.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0, .l_pid = 0};
  ASSERT_EQ(::fcntl(other, F_OFD_SETLK, &lock), 0);
  EXPECT_NE(refused_image(image).find("locked by another process"), std::string::npos);
  ::close(other);
}

TEST_F(Refusal, OfAMissingParamsNode) {
  bad_ = disk(raw_image());
  bad_.mode = "x";
  toolstack_.add_disk(bad_);
  expect_node(bad_, "hotplug-error", "mode is \"x\", neither r nor w");
}

TEST_F(Refusal, OfABackendDirectoryThatPointsToAnotherGuest) {
  bad_ = disk(raw_image());
  bad_.extra["frontend"] = "/local/domain/8/device/vbd/51712";
  toolstack_.add_disk(bad_);
  expect_node(
      bad_, "hotplug-error",
      "frontend is \"/local/domain/8/device/vbd/51712\", not /local/domain/7/device/vbd/51712");
  expect_node(bad_, "state", "5");
}

TEST_F(Refusal, OfAnUnknownProtocol) {
  EXPECT_EQ(refused_key("protocol", "vax-abi"), "protocol \"vax-abi\" is unknown");
  expect_next_session_works();
}

TEST_F(Refusal, OfARingReferenceThatIsNoNumber) {
  EXPECT_EQ(refused_key("ring-ref", "%s%n"), "ring-ref is \"%s%n\", not a number");
  expect_next_session_works();
}

TEST_F(Refusal, OfAHugeValue) {
  EXPECT_EQ(refused_key("event-channel", std::string(2048, '9')),
            "event-channel is \"" + std::string(40, '9') + "...\", not a number");
  expect_next_session_works();
}

TEST_F(Refusal, OfAGrantThatCannotBeMapped) {
  EXPECT_NE(refused_key("ring-ref", "4000000").find("unusable"), std::string::npos);
  expect_next_session_works();
}

TEST_F(Refusal, OfAnEventChannelThatCannotBeBound) {
  EXPECT_NE(refused_key("event-channel", "4000").find("not an unbound port"), std::string::npos);
  expect_next_session_works();
}

TEST_F(Refusal, OfMoreQueuesThanOffered) {
  EXPECT_EQ(refused_key("multi-queue-num-queues", "9"),
            "multi-queue-num-queues is 9, 1 to 8 are offered");
  expect_next_session_works();
}

TEST_F(Refusal, OfAStateThatIsNone) {
  const auto raw = disk(raw_image());
  connect(raw);
  set_node(frontend_->path() + "/state", "connected, honestly");
  expect_node(raw, "hotplug-error", "the frontend's state is \"connected, honestly\"");
  expect_node(raw, "state", "5");
}

TEST_F(Refusal, OfAStateThatFrontendsNeverHave) {
  const auto raw = disk(raw_image());
  connect(raw);
  set_node(frontend_->path() + "/state", "7");
  expect_node(raw, "hotplug-error", "the frontend's state is Reconfiguring");
}

TEST_F(Refusal, OfARingWhoseProducerOverrunsLeavesTheDeviceClosable) {
  const auto raw = disk(raw_image());
  connect(raw);
  frontend_->queue().ring().store_index(blkif::RingOffsets::req_prod, 1000000);
  frontend_->queue().port().notify();
  toolstack_.request_removal(raw);
  ASSERT_TRUE(frontend_->close().has_value()) << log_text();
  expect_node(raw, "state", "6");
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
}

// By the number that the guest gave it, however often its worker has connected queues.
TEST_F(Refusal, OfWhatAQueueAsksForNamesTheQueue) {
  connect(disk(raw_image()), {.queues = 2});
  ASSERT_TRUE(frontend_->close().has_value()) << log_text();
  ASSERT_TRUE(frontend_->reinitialise().has_value());
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  ASSERT_EQ(frontend_->queue_count(), 2U);
  frontend_->queue(1).ring().store_index(blkif::RingOffsets::req_prod, 1000000);
  frontend_->queue(1).port().notify();
  const auto told = [this] { return log_text().contains("further ones are only counted"); };
  for (std::uint32_t i = 0; i < kPatience.timeout_ms && !told(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(log_text().contains(" queue 1: ")) << log_text();
}

TEST_F(Refusal, OfOneQueueOfSeveralConnectsNone) {
  bad_ = disk(raw_image());
  toolstack_.add_disk(bad_);
  frontend_ = make_frontend({.queues = 4, .keys = loopback::RingKeys::ring_page_order});
  ASSERT_TRUE(frontend_->wait_for_offer().has_value());
  xen_.faults().refuse_map.set(3);
  ASSERT_TRUE(frontend_->publish_rings().has_value());
  expect_node(bad_, "state", "5");
  EXPECT_EQ(xen_.usage().mapped_pages, 0U);
  EXPECT_EQ(xen_.usage().bound_ports, 0U);
  expect_next_session_works();
}

}  // namespace
}  // namespace xenblk::backend
