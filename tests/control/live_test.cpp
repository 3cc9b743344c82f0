// What xenblkctl does to the image of a disk while its guest writes to it and verifies what it
// reads.
#include "tests/control/live_fixture.h"

namespace xenblk::control {
namespace {

// --- resize ---
TEST_F(Live, GrowsAVhdUnderItsGuest) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  wait_for_traffic();
  good({"resize", "web1:xvda", "8M"});
  expect_node(one, "sectors", "16384");
  good({"resize", "web1:xvda", "8M"});
  good({"resize", "web1:xvda", "5G"});
  expect_node(one, "sectors", "10485760");
  wait_for_traffic();
  end_traffic();
  ASSERT_TRUE(frontend_->reread_properties().has_value());
  std::vector<std::byte> sector(512, std::byte{7}), back(512);
  expect_okay(frontend_->write({10485759}, sector));
  expect_okay(frontend_->read({10485759}, back));
  EXPECT_EQ(back, sector);
  EXPECT_EQ(json({"info", "web1:xvda"})["bytes"], 5ULL << 30);
  remove(one);
  expect_sound(directory_.path("disk.vhd"));
}

TEST_F(Live, GrowsAFixedVhdUnderItsGuest) {
  const auto one = connect_web1(fixed_image());
  begin_traffic();
  wait_for_traffic();
  good({"resize", "web1:xvda", "8M"});
  expect_node(one, "sectors", "16384");
  wait_for_traffic();
  end_traffic();
  remove(one);
  expect_sound(directory_.path("fixed.vhd"));
}

TEST_F(Live, GrowsAVhdThatWaitsForItsGuest) {
  const auto one = named_disk(vhd_image());
  toolstack_.add_disk(one);
  expect_node(one, "image-state", "open");
  good({"resize", "7/51712", "8M"});
  EXPECT_EQ(json({"info", "7/51712"})["bytes"], 8U << 20);
}

TEST_F(Live, RefusesSizesThatCannotBe) {
  const auto one = connect_web1(vhd_image());
  const auto path = directory_.path("disk.vhd");
  begin_traffic();
  EXPECT_EQ(refused({"resize", "web1:xvda", "2M"}),
            "a disk never shrinks under a guest: it has 4194304 bytes");
  EXPECT_TRUE(refused({"resize", "web1:xvda", "3T"}).starts_with(path + ": "));
  wait_for_traffic();
  end_traffic();
  EXPECT_EQ(node(one, "sectors"), "8192");
}

TEST_F(Live, ChangesNoImageThatAnotherDiskUses) {
  connect_web1(vhd_image());
  const auto path = directory_.path("disk.vhd");
  const auto other = named_disk("vhd:" + path, 51728, "xvdb");
  toolstack_.add_disk(other);
  expect_node(other, "image-state", "open");
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}), path + ": another disk uses it too");
  EXPECT_EQ(refused({"check", "web1:xvda"}), path + ": another disk uses it too");
  expect_writes_and_reads(*frontend_);
}

TEST_F(Live, ChangesNoImageThatIsOpenReadOnly) {
  auto one = named_disk(vhd_image());
  one.mode = "r";
  toolstack_.add_disk(one);
  expect_node(one, "image-state", "open");
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}),
            directory_.path("disk.vhd") + ": is open read-only");
  EXPECT_EQ(good({"check", "web1:xvda"}), "good\n");
}

// --- check ---
TEST_F(Live, ChecksAnImageUnderItsGuest) {
  connect_web1(vhd_image());
  begin_traffic();
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(good({"check", "web1:xvda"}).ends_with("good\n"));
    EXPECT_EQ(json({"check", "web1:xvda", "--bitmaps"})["status"], "good");
  }
  wait_for_traffic();
}

TEST_F(Live, SaysThatARunningImageIsBroken) {
  connect_web1(vhd_image());
  expect_writes_and_reads(*frontend_);
  // Somebody else has written to it: the table's first entry, behind footer and header.
  std::fstream file(directory_.path("disk.vhd"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(1536).write("\0\0\0\0", 4).flush();
  const auto ended = ctl({"check", "web1:xvda"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.err, "xenblkctl: the image of web1:xvda is broken\n");
  EXPECT_TRUE(ended.out.contains("[block_on_metadata]\n")) << ended.out;
  EXPECT_TRUE(ended.out.ends_with("\nbroken\n")) << ended.out;
}

TEST_F(Live, ChecksNoRawImage) {
  connect_web1(raw_image());
  EXPECT_EQ(refused({"check", "web1:xvda"}),
            directory_.path("disk.raw") + ": is a raw image, not a VHD");
}

// --- snapshot ---
TEST_F(Live, TakesSnapshotsUnderItsGuest) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  std::string parent = "disk.vhd";
  std::map<std::string, std::string> kept;
  for (const std::string child : {"one.vhd", "two.vhd", "three.vhd"}) {
    wait_for_traffic();
    good({"snapshot", "web1:xvda", "--to", path(child)});
    expect_node(one, "params", "vhd:" + path(child));
    kept[parent] = content_of(path(parent));
    parent = child;
  }
  wait_for_traffic();
  EXPECT_EQ(json({"list"})["disks"][0]["image"], "vhd:" + path("three.vhd"));
  EXPECT_EQ(json({"info", "web1:xvda"})["format"], "vhd differencing");
  end_traffic();
  for (const auto& [name, content] : kept) {
    EXPECT_TRUE(content_of(path(name)) == content) << name << " was written after its snapshot";
    expect_sound(path(name));
  }
  remove(one);
  expect_sound(path("three.vhd"));
}

TEST_F(Live, KeepsInTheParentWhatWasThereAndInTheChildWhatCameLater) {
  const auto one = connect_web1(vhd_image());
  std::vector<std::byte> data(backend::kDiskBytes);
  loopback::fill_pattern(data, {0}, 1);
  expect_okay(frontend_->write({0}, data));
  good({"snapshot", "web1:xvda", "--to", path("child.vhd")});
  expect_pattern("vhd:" + path("disk.vhd"), 1);
  loopback::fill_pattern(data, {0}, 2);
  expect_okay(frontend_->write({0}, data));
  expect_pattern("vhd:" + path("disk.vhd"), 1);
  remove(one);
  expect_pattern("vhd:" + path("child.vhd"), 2);
}

TEST_F(Live, TheNextDaemonGoesOnWithTheChild) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  wait_for_traffic();
  good({"snapshot", "web1:xvda", "--to", path("child.vhd")});
  const auto kept = content_of(path("disk.vhd"));
  end_server();
  end_host();
  start_host();
  start_server();
  wait_for_traffic();
  end_traffic();
  EXPECT_TRUE(content_of(path("disk.vhd")) == kept);
  EXPECT_EQ(json({"info", "web1:xvda"})["image"], "vhd:" + path("child.vhd"));
  remove(one);
}

TEST_F(Live, TheParentOfASnapshotIsNotAttachedForWriting) {
  const auto one = connect_web1(vhd_image());
  good({"snapshot", "web1:xvda", "--to", path("child.vhd")});
  remove(one);
  toolstack_.add_disk(one);
  expect_node(one, "hotplug-error",
              path("disk.vhd") + ": is the parent of a snapshot now, and its disk goes on in " +
                  path("child.vhd"));
  ASSERT_TRUE(toolstack_.remove_disk(one, backend::kPatience));
  // Back to the snapshot: without the child nothing keeps it.
  std::filesystem::remove(path("child.vhd"));
  connect_web1("vhd:" + path("disk.vhd"));
  expect_writes_and_reads(*frontend_);
}

TEST_F(Live, SnapshotsADiskThatWaitsForItsGuest) {
  const auto one = named_disk(vhd_image());
  toolstack_.add_disk(one);
  expect_node(one, "image-state", "open");
  good({"snapshot", "web1:xvda", "--to", path("child.vhd")});
  frontend_ = make_frontend();
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  expect_writes_and_reads(*frontend_);
  expect_node(one, "params", "vhd:" + path("child.vhd"));
}

TEST_F(Live, RefusesSnapshotsThatCannotBe) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  directory_.make_file("taken.vhd", 512);
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("taken.vhd")}),
            path("taken.vhd") + ": File exists");
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("disk.vhd")}),
            path("disk.vhd") + ": File exists");
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("not/there.vhd")}),
            path("not/there.vhd") + ": No such file or directory");
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("a\nb")}),
            "to must not contain control characters");
  EXPECT_EQ(refused({"snapshot", "web1:xvdz", "--to", path("a.vhd")}),
            "no such disk: \"web1:xvdz\"");
  wait_for_traffic();
  EXPECT_EQ(node(one, "params"), "vhd:" + path("disk.vhd"));
  EXPECT_FALSE(std::filesystem::exists(path("a.vhd")));
}

TEST_F(Live, GoesOnWithTheImageWhenItsChildCannotBeOpened) {
  const auto one = connect_web1(vhd_image());
  std::filesystem::create_directory(path("deeper"));
  begin_traffic();
  const auto child = path("deeper/child.vhd");
  const auto said = refused({"snapshot", "web1:xvda", "--to", child});
  EXPECT_TRUE(said.starts_with(child + ": parent ")) << said;
  EXPECT_TRUE(said.contains("is outside the directories that are allowed")) << said;
  wait_for_traffic();
  EXPECT_TRUE(std::filesystem::is_empty(path("deeper")));
  EXPECT_EQ(node(one, "params"), "vhd:" + path("disk.vhd"));
}

TEST_F(Live, GoesOnWithTheImageWhenXenStoreDoesNotTakeTheName) {
  const auto one = connect_web1(vhd_image());
  begin_traffic();
  xen_.faults().commit_conflicts.set(1'000'000);
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("child.vhd")}),
            "XenStore refused 50 transactions in a row");
  xen_.faults().commit_conflicts.set(0);
  wait_for_traffic();
  EXPECT_FALSE(std::filesystem::exists(path("child.vhd")));
  EXPECT_EQ(json({"info", "web1:xvda"})["image"], "vhd:" + path("disk.vhd"));
  EXPECT_EQ(json({"info", "web1:xvda"})["format"], "vhd dynamic");
}

TEST_F(Live, SnapshotsOnlyAVhdOfOneDisk) {
  connect_web1(raw_image());
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("a.vhd")}),
            path("disk.raw") + ": is a raw image, not a VHD");
  auto other = named_disk(vhd_image(), 51728, "xvdb");
  toolstack_.add_disk(other);
  other.device = {51744};
  other.mode = "r";
  other.extra["dev"] = "xvdc";
  toolstack_.add_disk(other);
  expect_node(other, "image-state", "open");
  for (const auto* name : {"web1:xvdb", "web1:xvdc"}) {
    EXPECT_EQ(refused({"snapshot", name, "--to", path("a.vhd")}),
              path("disk.vhd") + (name == std::string("web1:xvdb") ? ": another disk uses it too"
                                                                   : ": is open read-only"));
  }
  auto drive = named_disk(vhd_image("medium.vhd"), 51760, "xvdd");
  drive.device_type = "cdrom";
  toolstack_.add_disk(drive);
  expect_node(drive, "image-state", "open");
  EXPECT_EQ(refused({"snapshot", "web1:xvdd", "--to", path("a.vhd")}),
            "there are no snapshots of a drive's medium");
  EXPECT_FALSE(std::filesystem::exists(path("a.vhd")));
}

class LiveInRoots : public Live {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_.path("roots"));
    start_host({.offer = {.max_queues = 2},
                .workers = 2,
                .images = {.image_roots = {directory_.path("roots")}}});
    start_server();
  }
};

TEST_F(LiveInRoots, MakesNoChildOutsideTheImageRoots) {
  connect_web1(vhd_image("roots/disk.vhd"));
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("child.vhd")}),
            path("child.vhd") + ": images may not lie there (image-roots says where)");
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", path("roots/../child.vhd")}),
            path("roots/../child.vhd") + ": images may not lie there (image-roots says where)");
  EXPECT_FALSE(std::filesystem::exists(path("child.vhd")));
  good({"snapshot", "web1:xvda", "--to", path("roots/child.vhd")});
  expect_writes_and_reads(*frontend_);
}

// Somebody has taken it away, and it has to be opened again for this.
TEST_F(Live, AnswersWithErrorsWhenTheImageCannotBeOpenedAgain) {
  const auto one = connect_web1(vhd_image());
  expect_writes_and_reads(*frontend_);
  std::filesystem::rename(path("disk.vhd"), path("away.vhd"));
  const auto missing = path("disk.vhd") + ": No such file or directory";
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}), missing + "; and then: " + missing);
  std::vector<std::byte> data(512);
  for (const auto& answer :
       {frontend_->read({0}, data), frontend_->write({0}, data), frontend_->flush()}) {
    ASSERT_TRUE(answer.has_value()) << describe(answer.error());
    EXPECT_EQ(*answer, blkif::Status::error);
  }
  EXPECT_EQ(json({"info", "web1:xvda"})["state"], "failed");
  remove(one);
}

// There is nothing to wait for, and a guest that waits for ever cannot even be shut down.
TEST_F(Live, AnswersWithErrorsWhenTheImageCannotBeOpenedAgainWhateverTheDisksPolicy) {
  auto one = named_disk(vhd_image());
  one.extra["on-error"] = "pause";
  connect(one);
  std::filesystem::rename(path("disk.vhd"), path("away.vhd"));
  const auto missing = path("disk.vhd") + ": No such file or directory";
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}), missing + "; and then: " + missing);
  std::vector<std::byte> data(512);
  const auto answer = frontend_->read({0}, data);
  ASSERT_TRUE(answer.has_value()) << describe(answer.error());
  EXPECT_EQ(*answer, blkif::Status::error);
  remove(one);
}

TEST_F(Live, LeavesADiskPausedThatWasPaused) {
  connect_web1(vhd_image());
  good({"pause", "web1:xvda"});
  good({"resize", "web1:xvda", "8M"});
  EXPECT_EQ(json({"info", "web1:xvda"})["state"], "paused");
  good({"resume", "web1:xvda"});
  expect_writes_and_reads(*frontend_);
}

}  // namespace
}  // namespace xenblk::control
