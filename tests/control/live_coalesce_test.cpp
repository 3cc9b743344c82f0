// xenblkctl coalesce: the child that a disk writes is merged into its parent, under verified I/O.
#include "tests/control/holding_worker.h"
#include "tests/control/live_fixture.h"

namespace xenblk::control {
namespace {

class Coalesce : public Live {
 protected:
  void snapshot(const std::string& child) { good({"snapshot", "web1:xvda", "--to", path(child)}); }
  void write_pattern(std::uint64_t first, std::uint64_t count, std::uint64_t seed) {
    std::vector<std::byte> data(count * 512);
    loopback::fill_pattern(data, {first}, seed);
    expect_okay(frontend_->write({first}, data));
  }
  void expect_read(std::uint64_t first, std::uint64_t count, std::uint64_t seed) {
    std::vector<std::byte> data(count * 512);
    expect_okay(frontend_->read({first}, data));
    EXPECT_TRUE(loopback::has_pattern(data, {first}, seed)) << first;
  }
  nlohmann::json merge() const { return json({"info", "web1:xvda"})["coalesce"]; }
  std::string merge_when_ended() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (merge()["state"] == "running" && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    return merge()["state"];
  }
};

TEST_F(Coalesce, MergesUnderItsGuest) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  for (int round = 0; round < 3; ++round) {
    wait_for_traffic();
    snapshot("child.vhd");
    wait_for_traffic();
    good({"coalesce", "web1:xvda", "--bandwidth", "8M", "--wait"});
    expect_node(one, "params", "vhd:" + path("disk.vhd"));
    EXPECT_FALSE(std::filesystem::exists(path("child.vhd")));
    EXPECT_FALSE(std::filesystem::exists(path("disk.vhd.xenblk-child")));
  }
  wait_for_traffic();
  end_traffic();
  EXPECT_EQ(json({"info", "web1:xvda"})["format"], "vhd dynamic");
  EXPECT_EQ(merge()["state"], "done");
  EXPECT_EQ(merge()["bytes-done"], backend::kDiskBytes);
  remove(one);
  expect_sound(path("disk.vhd"));
  // Nothing keeps the image from being attached by this name again.
  connect_web1("vhd:" + path("disk.vhd"));
  expect_writes_and_reads(*frontend_);
}

TEST_F(Coalesce, GivesTheParentWhatTheChildStoresAndNothingElse) {
  connect_web1(vhd_image());
  write_pattern(0, 6000, 1);
  snapshot("child.vhd");
  write_pattern(1000, 3000, 2);
  write_pattern(7000, 9, 3);
  good({"coalesce", "web1:xvda", "--wait"});
  EXPECT_EQ(merge()["bytes-copied"], 3009 * 512);
  for (const bool restarted : {false, true}) {
    if (restarted) {
      end_server();
      end_host();
      start_host();
      start_server();
    }
    expect_read(0, 1000, 1);
    expect_read(1000, 3000, 2);
    expect_read(4000, 2000, 1);
    expect_read(7000, 9, 3);
  }
}

TEST_F(Coalesce, MergesAChainOneByOne) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  for (const auto* child : {"one.vhd", "two.vhd", "three.vhd"}) {
    wait_for_traffic();
    snapshot(child);
  }
  for (const auto* left : {"two.vhd", "one.vhd", "disk.vhd"}) {
    wait_for_traffic();
    good({"coalesce", "web1:xvda", "--wait"});
    expect_node(one, "params", "vhd:" + path(left));
  }
  wait_for_traffic();
  end_traffic();
  remove(one);
  expect_sound(path("disk.vhd"));
}

TEST_F(Coalesce, GrowsTheParentFirst) {
  const auto one = connect_web1(vhd_image());
  snapshot("child.vhd");
  good({"resize", "web1:xvda", "8M"});
  ASSERT_TRUE(frontend_->reread_properties().has_value());
  write_pattern(16000, 384, 1);
  begin_traffic();
  good({"coalesce", "web1:xvda", "--wait"});
  end_traffic();
  expect_read(16000, 384, 1);
  EXPECT_EQ(json({"info", "web1:xvda"})["bytes"], 8U << 20);
  remove(one);
  expect_sound(path("disk.vhd"));
}

TEST_F(Coalesce, ThatIsCutOffLeavesTheChildAndCanBeBegunAgain) {
  const auto one = connect_web1(vhd_image());
  write_pattern(0, 8192, 1);
  snapshot("child.vhd");
  begin_traffic();
  wait_for_traffic();
  good({"coalesce", "web1:xvda", "--bandwidth", "4K"});
  EXPECT_EQ(merge()["state"], "running");
  wait_for_traffic();
  end_server();
  end_host();
  start_host();
  start_server();
  wait_for_traffic();
  EXPECT_EQ(node(one, "params"), "vhd:" + path("child.vhd"));
  EXPECT_EQ(merge(), nullptr);
  good({"coalesce", "web1:xvda", "--wait"});
  wait_for_traffic();
  end_traffic();
  EXPECT_EQ(node(one, "params"), "vhd:" + path("disk.vhd"));
  remove(one);
  expect_sound(path("disk.vhd"));
}

TEST_F(Coalesce, EndsWithTheDisk) {
  const auto one = connect_web1(vhd_image());
  write_pattern(0, 8192, 1);
  snapshot("child.vhd");
  write_pattern(0, 8192, 2);
  good({"coalesce", "web1:xvda", "--bandwidth", "4K"});
  remove(one);
  expect_sound(path("child.vhd"));
  expect_pattern("vhd:" + path("child.vhd"), 2);
}

TEST_F(Coalesce, GoesOnInTheChildWhenXenStoreDoesNotTakeTheName) {
  const auto one = connect_web1(vhd_image());
  snapshot("child.vhd");
  begin_traffic();
  wait_for_traffic();
  good({"coalesce", "web1:xvda", "--bandwidth", "4M"});
  xen_.faults().commit_conflicts.set(1'000'000);
  EXPECT_EQ(merge_when_ended(), "failed");
  xen_.faults().commit_conflicts.set(0);
  EXPECT_EQ(merge()["failure"], "XenStore refused 50 transactions in a row");
  wait_for_traffic();
  EXPECT_EQ(node(one, "params"), "vhd:" + path("child.vhd"));
  EXPECT_TRUE(std::filesystem::exists(path("disk.vhd.xenblk-child")));
  good({"coalesce", "web1:xvda", "--wait"});
  wait_for_traffic();
}

TEST_F(Coalesce, RefusesWhatCannotBeMerged) {
  const auto one = connect_web1(vhd_image());
  EXPECT_EQ(refused({"coalesce", "web1:xvda"}),
            path("disk.vhd") + ": has no parent to be merged into");
  snapshot("child.vhd");
  begin_traffic();
  // Another child of the same parent, whether or not somebody uses it.
  std::filesystem::copy_file(path("child.vhd"), path("other.vhd"));
  EXPECT_EQ(refused({"coalesce", "web1:xvda"}), path("disk.vhd") + ": is the parent of " +
                                                    path("other.vhd") + " too, which would change");
  const auto other = named_disk("vhd:" + path("other.vhd"), 51728, "xvdb");
  toolstack_.add_disk(other);
  expect_node(other, "image-state", "open");
  EXPECT_EQ(refused({"coalesce", "web1:xvda"}),
            path("disk.vhd") + ": is the parent of another open image too");
  EXPECT_EQ(refused({"coalesce", "web1:xvda", "--bandwidth", "1"}),
            "bandwidth must be a whole number from 4096 to 1099511627776");
  EXPECT_EQ(refused({"coalesce", "web1:xvdz"}), "no such disk: \"web1:xvdz\"");
  wait_for_traffic();
  EXPECT_EQ(node(one, "params"), "vhd:" + path("child.vhd"));
}

TEST_F(Coalesce, KeepsEverythingElseAwayFromBothImages) {
  connect_web1(vhd_image());
  write_pattern(0, 8192, 1);
  snapshot("child.vhd");
  write_pattern(0, 8192, 2);
  std::filesystem::copy_file(path("child.vhd"), path("late.vhd.hidden"));
  std::filesystem::create_directory(path("away"));
  std::filesystem::rename(path("late.vhd.hidden"), path("away/late.vhd"));
  good({"coalesce", "web1:xvda", "--bandwidth", "4K"});
  const std::string busy = "it is being merged into its parent";
  EXPECT_EQ(refused({"coalesce", "web1:xvda"}), busy);
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("a.vhd")}), busy);
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}), busy);
  EXPECT_EQ(refused({"check", "web1:xvda"}), busy);
  // Writing the parent, reading it, and basing another image on it.
  std::filesystem::rename(path("away/late.vhd"), path("late.vhd"));
  std::uint32_t device = 51728;
  for (const auto* name : {"disk.vhd", "late.vhd"}) {
    for (const auto* mode : {"w", "r"}) {
      auto other = named_disk("vhd:" + path(name), device, "xvdb");
      device += 16;
      other.mode = mode;
      toolstack_.add_disk(other);
      expect_node(other, "image-state", "failed");
    }
  }
  expect_read(0, 8192, 2);
}

TEST_F(Coalesce, WaitsForAPausedGuest) {
  const auto one = connect_web1(vhd_image());
  snapshot("child.vhd");
  write_pattern(0, 8192, 2);
  good({"pause", "web1:xvda"});
  good({"coalesce", "web1:xvda", "--wait"});
  EXPECT_EQ(json({"info", "web1:xvda"})["state"], "paused");
  good({"resume", "web1:xvda"});
  expect_read(0, 8192, 2);
  EXPECT_EQ(node(one, "params"), "vhd:" + path("disk.vhd"));
}

class CoalesceWhileAGuestConnects : public Coalesce {
 protected:
  void SetUp() override {
    start_host({.offer = {.max_ring_order = 4, .max_queues = 8},
                .start_worker = [gate = gate_](Xen& xen, ringio::WorkerOptions options)
                    -> Expected<std::unique_ptr<ringio::Worker>> {
                  auto worker = ringio::Worker::start(xen, std::move(options));
                  if (!worker) return worker;
                  return std::make_unique<HoldingWorker>(std::move(*worker), gate);
                }});
    start_server();
  }

  static bool comes_true(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  const std::shared_ptr<ConnectGate> gate_ = std::make_shared<ConnectGate>();
};

// The queues that are just being connected have a share of what the merge would put away.
TEST_F(CoalesceWhileAGuestConnects, EndsWhenTheGuestIsConnected) {
  const auto one = connect_web1(vhd_image());
  snapshot("child.vhd");
  write_pattern(0, 8192, 2);
  ASSERT_TRUE(frontend_->close().has_value());
  // The image is open, and the guest has not connected yet.
  set_node(loopback::frontend_path(backend::kGuest, one.device) + "/state", "1");
  ASSERT_TRUE(comes_true([&] { return json({"info", "web1:xvda"})["state"] == "waiting"; }));
  good({"coalesce", "web1:xvda", "--bandwidth", "1M"});
  gate_->close();
  std::thread connecting([&] { EXPECT_TRUE(frontend_->connect().has_value()) << log_text(); });
  EXPECT_TRUE(comes_true([&] { return gate_->waiting() != 0; }));
  EXPECT_TRUE(comes_true([&] { return merge()["bytes-done"] == backend::kDiskBytes; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(merge()["state"], "running");
  gate_->open();
  connecting.join();
  EXPECT_EQ(merge_when_ended(), "done");
  expect_node(one, "params", "vhd:" + path("disk.vhd"));
  expect_read(0, 8192, 2);
}

}  // namespace
}  // namespace xenblk::control
