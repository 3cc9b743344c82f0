// xenblkctl as a user runs it, against a host with simulated guests.
#include <regex>
#include <set>

#include "tests/control/ctl_fixture.h"
#include "tests/ringio/memory_image.h"

namespace xenblk::control {
namespace {

// --- showing ---
TEST_F(Ctl, ListsEveryDisk) {
  const auto params = raw_image();
  connect_web1(params);
  toolstack_.add_disk(named_disk(vhd_image(), 51728, "xvdb"));
  EXPECT_EQ(json({"list"})["disks"][0], (nlohmann::json{{"disk", "7/51712"},
                                                        {"kind", "vbd"},
                                                        {"guest", "web1"},
                                                        {"vdev", "xvda"},
                                                        {"state", "connected"},
                                                        {"image", params},
                                                        {"format", "raw"},
                                                        {"bytes", backend::kDiskBytes},
                                                        {"access", "read-write"}}));
  const auto text = good({"list"});
  EXPECT_TRUE(text.starts_with("DISK     NAME       STATE")) << text;
  EXPECT_TRUE(text.contains("7/51712  web1:xvda  connected  4 MiB  read-write  " + params)) << text;
}

// One question and one answer, and each guest's name read once, however many disks there are. The
// report of the tests has how long it took.
TEST_F(Ctl, ListsAThousandDisksAtOnce) {
  constexpr std::uint32_t kDisks = 1000;
  constexpr std::size_t kBytesPerDiskMax = 256;
  for (std::uint32_t i = 0; i < kDisks; ++i) {
    toolstack_.add_disk(named_disk("null:4M", 51712 + i, fmt::format("xvd{}", i)));
  }
  for (std::uint32_t i = 0; i < kDisks; ++i) {
    expect_node(disk("", 51712 + i), "image-state", "open");
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto text = good({"list"});
  const std::chrono::duration<double, std::milli> passed = std::chrono::steady_clock::now() - begin;
  RecordProperty("milliseconds", fmt::format("{:.1f}", passed.count()));
  EXPECT_EQ(std::ranges::count(text, '\n'), kDisks + 1);
  for (std::uint32_t i = 0; i < kDisks; ++i) {
    EXPECT_TRUE(text.contains(fmt::format("\n7/{}  web1:xvd{} ", 51712 + i, i))) << i;
  }
  RawClient client(socket_);
  client.send("{\"version\":1,\"command\":\"list\"}\n");
  EXPECT_LE(client.line().size(), kDisks * kBytesPerDiskMax);
  EXPECT_EQ(json({"stats", "web1:xvd99"})["disks"][0]["disk"], "7/51811");
}

TEST_F(Ctl, ListsNothingWhereThereIsNothing) {
  EXPECT_EQ(good({"list"}), "DISK  NAME  STATE  SIZE  ACCESS  IMAGE\n");
}

TEST_F(Ctl, ShowsWhatWasNegotiated) {
  connect_web1(raw_image());
  const auto info = json({"info", "web1:xvda"});
  EXPECT_EQ(
      info["negotiated"],
      (nlohmann::json{
          {"layout", "native"}, {"queues", 1}, {"ring-pages", 1}, {"persistent-grants", false}}));
  EXPECT_EQ(info["offered"]["ring-pages"], 16);
  EXPECT_EQ(info["limits"], (nlohmann::json{{"iops", 0}, {"bandwidth", 0}, {"burst-ms", 100}}));
  EXPECT_TRUE(good({"info", "7/51712"}).contains("negotiated ring-pages"));
}

TEST_F(Ctl, CountsWhatADiskDid) {
  connect_web1(raw_image());
  expect_writes_and_reads(*frontend_);
  expect_okay(frontend_->flush());
  const auto stats = json({"stats", "web1:xvda"})["disks"][0];
  EXPECT_EQ(stats["total"]["bytes-written"], backend::kDiskBytes);
  EXPECT_EQ(stats["total"]["bytes-read"], backend::kDiskBytes);
  EXPECT_EQ(stats["total"]["flushes"], 1);
  EXPECT_EQ(stats["queues"].size(), 1U);
  EXPECT_EQ(stats["latency"]["read"]["total"]["count"], stats["total"]["reads"]);
  EXPECT_GT(stats["latency"]["write"]["image"]["half-within-ns"], 0);
  EXPECT_EQ(stats["total"]["errors"], nlohmann::json::object());
  EXPECT_TRUE(good({"stats"}).contains("7/51712  web1:xvda  connected"));
}

TEST_F(Ctl, CountsWhatWentWrongByItsKind) {
  connect_web1(raw_image());
  EXPECT_EQ(frontend_->discard({0}, {1U << 30}).value(), blkif::Status::error);
  const auto stats = json({"stats", "7/51712"})["disks"][0];
  EXPECT_EQ(stats["total"]["errors"], (nlohmann::json{{"request beyond the end of the disk", 1}}));
}

TEST_F(Ctl, WatchesWhatDisksDoNow) {
  connect_web1(raw_image());
  const auto text = good({"stats", "--watch", "--interval", "0.01", "--count", "2"});
  EXPECT_EQ(std::ranges::count(text, '\n'), 4) << text;
  EXPECT_TRUE(text.starts_with("DISK     NAME       STATE      READS/s")) << text;
}

TEST_F(Ctl, ExplainsWhatLimitsAGuest) {
  connect_web1(raw_image());
  const auto text = good({"explain", "web1:xvda"});
  EXPECT_TRUE(
      text.contains("the guest took 1 of the 16 ring pages offered\n"
                    "-> a Linux guest takes more with xen_blkfront.max_ring_page_order=4"))
      << text;
  EXPECT_TRUE(text.contains("the guest took 1 of the 8 queues offered")) << text;
  good({"limit", "web1:xvda", "--iops", "50"});
  EXPECT_TRUE(good({"explain", "web1:xvda"}).contains("limits: 50 requests a second, 0 bytes"));
}

TEST_F(Ctl, ExplainsWhyAnImageFailed) {
  const auto one = named_disk("raw:/does/not/exist");
  toolstack_.add_disk(one);
  expect_node(one, "image-state", "failed");
  const auto text = good({"explain", "7/51712"});
  EXPECT_TRUE(text.starts_with("state: failed\nfailed: ")) << text;
  EXPECT_TRUE(text.contains("No such file or directory")) << text;
}

// Prometheus's text format and OpenMetrics: families in one piece, counters end in _total.
TEST_F(Ctl, PrintsMetricsThatAReaderAccepts) {
  connect_web1(raw_image());
  set_node("/local/domain/7/name", "we\"b\\1");
  expect_writes_and_reads(*frontend_);
  std::istringstream text(good({"metrics"}));
  const std::regex sample(R"re(([a-z_]+)\{disk="7/51712",guest="we\\"b\\\\1",vdev="xvda")re"
                          R"re((,[a-z]+="[^"]+")*\} [0-9.e+-]+)re");
  const std::regex about(R"(# (TYPE|HELP) ([a-z_]+) (counter|gauge|histogram|[A-Z].*\.))");
  std::string line, family, type, last;
  std::set<std::string> families;
  for (std::smatch match; std::getline(text, line); last = line) {
    if (std::regex_match(line, match, about)) {
      if (match[1] == "TYPE") {
        family = match[2];
        type = match[3];
        EXPECT_TRUE(families.insert(family).second) << "twice: " << family;
      }
      EXPECT_EQ(match[2], family);
    } else if (line != "# EOF") {
      ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
      if (type == "histogram") {
        EXPECT_TRUE(match[1].str().starts_with(family + "_")) << line;
      } else {
        EXPECT_EQ(match[1], family + (type == "counter" ? "_total" : "")) << line;
      }
    }
  }
  EXPECT_EQ(last, "# EOF");
  const auto metrics = good({"metrics"});
  EXPECT_TRUE(metrics.contains("operation=\"write\"} 4194304\n"));
  EXPECT_TRUE(metrics.contains("operation=\"write\",le=\"+Inf\"} 1024\n")) << metrics;
  EXPECT_TRUE(metrics.contains("operation=\"write\",phase=\"data-in\"}")) << metrics;
}

// --- steering ---
TEST_F(Ctl, PausesAndResumes) {
  connect_web1(raw_image());
  good({"pause", "web1:xvda"});
  EXPECT_EQ(state(), "paused");
  EXPECT_EQ(refused({"pause", "web1:xvda"}), "it is paused already");
  std::thread guest([&] { expect_writes_and_reads(*frontend_); });
  EXPECT_EQ(json({"stats"})["disks"][0]["total"]["writes"], 0);
  good({"resume", "web1:xvda"});
  guest.join();
  EXPECT_EQ(state(), "connected");
  EXPECT_EQ(refused({"resume", "web1:xvda"}), "it is not paused");
}

// --- a storage that fails ---
class CtlOfAFailingStorage : public Ctl {
 protected:
  void serve_memory(const backend::FailureWishes& wishes) {
    end_server();
    end_host();
    start_host({.workers = 1,
                .storage = {.of_all = wishes},
                .open_image = [this](const std::string&, Access) { return image_; }});
    start_server();
    disk_ = connect_web1("raw:/memory");
  }
  blkif::Status write() { return frontend_->write({0}, sector_).value(); }

  std::shared_ptr<ringio::test::MemoryImage> image_ =
      std::make_shared<ringio::test::MemoryImage>(SectorCount{8192});
  loopback::Disk disk_;
  std::vector<std::byte> sector_ = std::vector<std::byte>(512);
};

TEST_F(CtlOfAFailingStorage, ShowsThatAGuestWaits) {
  serve_memory({{}, ringio::OnFailure::pause});
  image_->fail_changes(IoStatus::no_space);
  std::thread guest([&] { EXPECT_EQ(write(), blkif::Status::okay); });
  expect_node(disk_, "storage-state", "waiting");
  EXPECT_EQ(state(), "storage-waits");
  EXPECT_EQ(json({"info", "web1:xvda"})["on-enospc"], "pause");
  EXPECT_EQ(json({"info", "web1:xvda"})["on-error"], "report");
  const auto lines = good({"explain", "web1:xvda"});
  EXPECT_TRUE(
      lines.contains("storage: it has failed 1 requests, which are tried again\n-> make "
                     "space, or bring the storage back; xenblkctl resume tries at once\n"))
      << lines;
  const auto metrics = good({"metrics"});
  EXPECT_TRUE(metrics.contains("vdev=\"xvda\",state=\"waits\"} 1\n")) << metrics;
  EXPECT_TRUE(metrics.contains("# TYPE xenblk_requests_kept gauge\n")) << metrics;
  good({"resume", "web1:xvda"});
  image_->fail_changes(IoStatus::okay);
  guest.join();
  expect_node(disk_, "storage-state", "good");
  EXPECT_EQ(state(), "connected");
  EXPECT_EQ(refused({"resume", "web1:xvda"}), "it is not paused");
}

TEST_F(CtlOfAFailingStorage, ShowsThatADiskIsStoppedUntilItIsResumed) {
  serve_memory({ringio::OnFailure::stop, {}});
  image_->fail_next(IoStatus::io_error);
  EXPECT_EQ(write(), blkif::Status::error);
  EXPECT_EQ(write(), blkif::Status::error);
  EXPECT_EQ(state(), "storage-stopped");
  const auto lines = good({"explain", "web1:xvda"});
  EXPECT_TRUE(
      lines.contains("storage: it has failed, and all requests are refused since\n"
                     "-> look at it, then xenblkctl resume\n"))
      << lines;
  good({"resume", "web1:xvda"});
  EXPECT_EQ(write(), blkif::Status::okay);
  EXPECT_EQ(state(), "connected");
}

TEST_F(Ctl, PausesNothingThatIsNotConnected) {
  const auto one = named_disk(raw_image());
  toolstack_.add_disk(one);
  expect_node(one, "image-state", "open");
  EXPECT_EQ(refused({"pause", "7/51712"}), "no guest is connected to it");
}

TEST_F(Ctl, ForgetsAPauseWhenTheGuestConnectsAnew) {
  const auto one = connect_web1(raw_image());
  good({"pause", "web1:xvda"});
  remove(one);
  connect(one);
  expect_writes_and_reads(*frontend_);
  EXPECT_EQ(state(), "connected");
}

TEST_F(Ctl, LimitsAGuestAtOnce) {
  connect_web1(raw_image());
  EXPECT_EQ(good({"limit", "web1:xvda", "--iops", "400", "--bandwidth", "1G", "--burst", "10"}),
            "400 requests/s, 1 GiB/s, saved up for at most 10 ms\n");
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::byte> sector(512);
  for (int i = 0; i < 100; ++i) expect_okay(frontend_->read({0}, sector));
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(passed.count(), 95.0 / 400) << "however slow this machine is, it is not faster";
  EXPECT_EQ(good({"limit", "web1:xvda", "--none"}), "no limits\n");
}

TEST_F(Ctl, WakesAGuestThatWaitsForALimitThatIsTakenAway) {
  connect_web1(raw_image());
  good({"limit", "web1:xvda", "--iops", "1", "--burst", "1"});
  std::vector<std::byte> sector(512);
  expect_okay(frontend_->read({0}, sector));
  std::thread guest([&] {
    for (int i = 0; i < 500; ++i) expect_okay(frontend_->read({0}, sector));
  });
  good({"limit", "web1:xvda", "--none"});
  guest.join();
}

TEST_F(Ctl, KeepsLimitsOverAReconnection) {
  connect_web1(raw_image());
  good({"limit", "web1:xvda", "--iops", "400"});
  ASSERT_TRUE(frontend_->close().has_value());
  ASSERT_TRUE(frontend_->reinitialise().has_value());
  ASSERT_TRUE(frontend_->connect().has_value()) << log_text();
  EXPECT_EQ(json({"info", "web1:xvda"})["limits"]["iops"], 400);
}

// Two disks under load, on two workers: together they get what one limit allows.
TEST_F(Ctl, LimitsAllDisksOfAGuestTogether) {
  connect_web1(raw_image());
  toolstack_.add_disk(named_disk(raw_image("second.raw"), 51728, "xvdb"));
  auto second = make_frontend({.device = {51728}});
  ASSERT_TRUE(second->connect().has_value()) << log_text();
  EXPECT_EQ(good({"limit", "web1", "--iops", "400", "--burst", "10"}),
            "400 requests/s, any bandwidth, saved up for at most 10 ms\n");
  const auto begin = std::chrono::steady_clock::now();
  const auto read = [&](loopback::SimulatedFrontend& frontend) {
    std::vector<std::byte> sector(512);
    for (int i = 0; i < 100; ++i) expect_okay(frontend.read({0}, sector));
  };
  std::thread other([&] { read(*second); });
  read(*frontend_);
  other.join();
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(passed.count(), 195.0 / 400) << "however slow this machine is, it is not faster";
  std::uint64_t waits = 0;
  const auto stats = json({"stats"})["disks"];
  for (const auto& one : stats) waits += one["total"]["guest-limited"].get<std::uint64_t>();
  EXPECT_GT(waits, 0U);
  EXPECT_EQ(stats[1]["guest-limits"]["iops"], 400);
  EXPECT_EQ(stats[1]["limits"]["iops"], 0);
  second.reset();
}

TEST_F(Ctl, ShowsTheLimitsOfAGuestWithEachOfItsDisks) {
  const auto one = connect_web1(raw_image());
  good({"limit", "7", "--iops", "400"});
  good({"limit", "web1:xvda", "--bandwidth", "20M"});
  EXPECT_EQ(json({"info", "web1:xvda"})["guest-limits"]["iops"], 400);
  EXPECT_EQ(json({"list"})["disks"][0]["guest-limits"]["iops"], 400);
  EXPECT_TRUE(good({"list"}).contains("  20 MiB/s; guest 400/s  raw:")) << good({"list"});
  EXPECT_TRUE(good({"info", "7/51712"}).contains("guest-limits iops"));
  const auto text = good({"explain", "web1:xvda"});
  EXPECT_TRUE(text.contains("limits of all disks of the guest together: 400 requests a second, 0"))
      << text;
  EXPECT_TRUE(text.contains("-> xenblkctl limit 7 changes them at once")) << text;
  EXPECT_TRUE(good({"metrics"}).contains("reason=\"guest-limits\""));
  EXPECT_EQ(node(one, "guest-limit-iops"), "400");
  good({"limit", "web1", "--none"});
  EXPECT_EQ(node(one, "guest-limit-iops"), "0");
  EXPECT_EQ(json({"info", "web1:xvda"})["limits"]["bandwidth"], 20U << 20) << "as it was";
}

// In XenStore with the disk, where its toolstack sees them too.
TEST_F(Ctl, NotesLimitsForTheNextDaemon) {
  const auto one = connect_web1(raw_image());
  good({"limit", "web1:xvda", "--iops", "400", "--bandwidth", "1G"});
  EXPECT_EQ(node(one, "limit-iops"), "400");
  EXPECT_EQ(node(one, "limit-bandwidth"), "1073741824");
  EXPECT_EQ(node(one, "limit-burst-ms"), "100");
  good({"limit", "web1:xvda", "--none"});
  EXPECT_EQ(node(one, "limit-iops"), "0");
}

TEST_F(Ctl, GrowsARawDiskUnderItsGuest) {
  const auto one = connect_web1(raw_image());
  good({"resize", "web1:xvda", "8M"});
  expect_node(one, "sectors", "16384");
  EXPECT_EQ(std::filesystem::file_size(directory_.path("disk.raw")), 8U << 20);
  ASSERT_TRUE(frontend_->reread_properties().has_value());
  std::vector<std::byte> sector(512);
  expect_okay(frontend_->write({16383}, sector));
  good({"resize", "web1:xvda", "8M"});
  EXPECT_EQ(refused({"resize", "web1:xvda", "4M"}),
            "a disk never shrinks under a guest: it has 8388608 bytes");
  EXPECT_EQ(std::filesystem::file_size(directory_.path("disk.raw")), 8U << 20);
}

TEST_F(Ctl, SaysWhatCannotBeResized) {
  toolstack_.add_disk(named_disk("raw:/does/not/exist", 51728, "xvdb"));
  expect_node(disk("", 51728), "image-state", "failed");
  EXPECT_EQ(refused({"resize", "7/51728", "8M"}), "its image is not open");
}

TEST_F(Ctl, ClosesADiskWhenItsGuestLetsGo) {
  const auto one = connect_web1(raw_image());
  std::string said;
  std::thread closing([&] { said = good({"close", "web1:xvda"}); });
  expect_node(one, "online", "0");
  ASSERT_TRUE(frontend_->close().has_value());
  closing.join();
  expect_node(one, "state", "6");
  EXPECT_EQ(refused({"close", "7/51712"}), "it is closed already");
}

TEST_F(Ctl, EndsTheDaemon) {
  good({"shutdown", "--detach"});
  expect_ends(1);
}

TEST_F(Ctl, EndsTheDaemonWhenTheLastDiskIsClosed) {
  const auto one = connect_web1(raw_image());
  std::thread closing([&] { good({"shutdown", "--close"}); });
  expect_node(one, "online", "0");
  EXPECT_EQ(ends_, 0);
  ASSERT_TRUE(frontend_->close().has_value());
  closing.join();
  expect_ends(1);
}

}  // namespace
}  // namespace xenblk::control
