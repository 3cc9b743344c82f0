// xenblkctl export: a disk that a guest has, served to NBD clients at the same time.
#include <filesystem>
#include <thread>

#include "tests/control/control_fixture.h"
#include "tests/nbd/client.h"
#include "tests/nbd/held_image.h"

namespace xenblk::control {
namespace {

using nbd::CommandType;
using nbd::NbdError;
using test::Client;
using test::HeldImage;
using Reply = std::pair<std::uint64_t, NbdError>;

class ExportCommand : public ControlTest {
 protected:
  void SetUp() override { serve_disks({}); }
  void serve_disks(backend::ImageOpener::OpenImage open_image) {
    start_host({.export_directory = exports_,
                .offer = {.max_queues = 2},
                .workers = 2,
                .open_image = std::move(open_image)});
    start_server();
  }
  // Every image that is opened from now on is this one.
  void serve_held_image() {
    end_server();
    end_host();
    serve_disks([this](auto&, auto) -> Expected<std::shared_ptr<Image>> { return held_; });
  }
  loopback::Disk connected(const std::string& params) {
    const auto one = named_disk(params);
    connect(one);
    return one;
  }
  std::vector<std::string> writable() const {
    return {"export", "web1:xvda", "--socket", path_, "--writable"};
  }
  Client& client(bool structured = false) {
    auto& one = *clients_.emplace_back(std::make_unique<Client>(path_));
    one.agree(structured);
    return one;
  }
  // Lines of bash with $uri.
  void expect_shell(const std::string& lines) const {
    test::Running running({"bash", "-ec", "uri='nbd+unix:///?socket=" + path_ + "'\n" + lines},
                          directory_.path(""));
    const auto ended = running.wait();
    EXPECT_EQ(ended.status, 0) << ended.out << ended.err;
  }
  bool exists() const { return std::filesystem::exists(path_); }

  std::string exports_ = directory_.path("run");
  std::string path_ = exports_ + "/web1.nbd";
  std::shared_ptr<HeldImage> held_ =
      std::make_shared<HeldImage>(SectorCount{backend::kDiskBytes / kSectorBytes});
  std::vector<std::unique_ptr<Client>> clients_;

 private:
  const bool made_ = std::filesystem::create_directory(exports_);
};

// --- the same disk ---
TEST_F(ExportCommand, ClientsAndTheGuestSeeWhatEachOtherWrites) {
  connected(vhd_image());
  EXPECT_EQ(good(writable()), "nbd+unix:///?socket=" + path_ + "\n");
  std::vector<std::byte> data(4096, std::byte{0x51});
  expect_okay(frontend_->write({16}, data));
  auto& one = client();
  one.send(test::request({CommandType::read, 8192, 4096, 0, 3}));
  EXPECT_EQ(one.simple_reply(), Reply(3, NbdError::none));
  EXPECT_EQ(one.receive(4096), data);
  one.send(test::request({CommandType::write, 8192, 4096, nbd::kFua, 4}).fill(4096, 0x62));
  EXPECT_EQ(one.simple_reply(), Reply(4, NbdError::none));
  expect_okay(frontend_->read({16}, data));
  EXPECT_EQ(data, std::vector<std::byte>(4096, std::byte{0x62}));
}

TEST_F(ExportCommand, QemuAndLibnbdWorkOnAVhdThatAGuestHas) {
  connected(vhd_image());
  expect_writes_and_reads(*frontend_);
  good(writable());
  expect_shell(R"(
    nbdinfo --size "$uri" | grep -qx 4194304
    nbdinfo --can multi-conn "$uri"
    nbdcopy "$uri" before
    qemu-img compare -f raw -F raw before "$uri"
    qemu-io -f raw -c 'write -P 7 1M 64k' -c flush -c 'write -f -P 8 2M 4k' \
      -c 'write -z 3M 512k' -c 'discard 3M 512k' -c 'read -P 7 1M 64k' \
      -c 'read -P 8 2M 4k' -c 'read -P 0 3M 512k' "$uri" >io
    if grep failed io; then exit 9; fi
    nbdcopy "$uri" after
    if cmp -s before after; then exit 9; fi
  )");
  std::vector<std::byte> data(65536);
  expect_okay(frontend_->read({(1 << 20) / kSectorBytes}, data));
  EXPECT_EQ(data, std::vector<std::byte>(65536, std::byte{7}));
}

TEST_F(ExportCommand, ADiskWithoutAGuestIsServedToo) {
  toolstack_.add_disk(named_disk(raw_image()));
  expect_node(disk(""), "image-state", "open");
  good({"export", "web1:xvda", "--socket", "web1.nbd"});
  expect_shell("nbdcopy \"$uri\" copy; cmp copy disk.raw");
}

// --- who may write ---
TEST_F(ExportCommand, IsForReadingUnlessItSaysOtherwise) {
  connected(raw_image());
  good({"export", "7/51712", "--socket", path_});
  auto& one = client();
  one.send(test::request({CommandType::write, 0, 512, 0, 1}).fill(512, 0));
  EXPECT_EQ(one.simple_reply(), Reply(1, NbdError::not_permitted));
  EXPECT_EQ(json({"info", "7/51712"})["export"],
            (nlohmann::json{
                {"socket", path_}, {"access", "read-only"}, {"clients", 1}, {"requests", 1}}));
}

TEST_F(ExportCommand, AReadOnlyDiskIsNotWritable) {
  auto one = named_disk(raw_image());
  one.mode = "r";
  connect(one);
  EXPECT_EQ(refused(writable()), "the disk is read-only");
  good({"export", "web1:xvda", "--socket", path_});
}

// --- its end ---
TEST_F(ExportCommand, StopsWhenItIsTold) {
  connected(raw_image());
  good(writable());
  auto& one = client();
  EXPECT_EQ(good({"export", "web1:xvda", "--stop"}), "");
  EXPECT_TRUE(one.closed());
  EXPECT_FALSE(exists());
  EXPECT_EQ(json({"info", "web1:xvda"})["export"], nullptr);
  EXPECT_EQ(refused({"export", "web1:xvda", "--stop"}), "it is not exported");
  good(writable());
  client();
}

// The image is closed when the clients' requests are done, and only then is the device Closed.
TEST_F(ExportCommand, ADiskThatGoesTakesItsClientsAlong) {
  serve_held_image();
  const auto one = connected("raw:/held");
  good(writable());
  auto& reader = client();
  reader.send(test::request({CommandType::read, 0, 512, 0, 5}));
  held_->wait_until_held(1);
  toolstack_.request_removal(one);
  // The guest sees Closed at the very end.
  std::thread closing([&] { EXPECT_TRUE(frontend_->close().has_value()) << log_text(); });
  while (exists()) std::this_thread::yield();
  EXPECT_NE(node(one, "state"), "6");
  EXPECT_EQ(refused(writable()), "its image is not open");
  held_->answer_last();
  EXPECT_EQ(reader.simple_reply(), Reply(5, NbdError::none));
  EXPECT_EQ(reader.receive(513).size(), 512U);
  closing.join();
  frontend_.reset();
  EXPECT_TRUE(toolstack_.remove_disk(one, backend::kPatience)) << log_text();
}

// Two who ask for the end, and the disk that goes meanwhile, wait for the same.
TEST_F(ExportCommand, AllWhoWaitForTheEndAreTold) {
  serve_held_image();
  connected("raw:/held");
  good(writable());
  auto& reader = client();
  reader.send(test::request({CommandType::read, 0, 512, 0, 5}));
  held_->wait_until_held(1);
  RawClient first(socket_);
  RawClient second(socket_);
  const std::string stop =
      "{\"version\":1,\"command\":\"export\",\"disk\":\"7/51712\",\"stop\":true}\n";
  ASSERT_TRUE(first.send(stop) && second.send(stop));
  while (exists()) std::this_thread::yield();
  EXPECT_EQ(refused(writable()), "it is exported already at " + path_);
  held_->answer_last();
  EXPECT_EQ(first.line(), R"({"version":1,"ok":true,"result":null})");
  EXPECT_EQ(second.line(), R"({"version":1,"ok":true,"result":null})");
  held_->answer_all_from_now_on();
}

TEST_F(ExportCommand, ADaemonThatEndsLeavesNoSocketAndNoClient) {
  connected(raw_image());
  good(writable());
  auto& one = client();
  end_server();
  host_->run([this](backend::EventLoop&, backend::Backend& backend) { backend.detach([] {}); });
  EXPECT_TRUE(one.closed());
  EXPECT_FALSE(exists());
}

TEST_F(ExportCommand, ClientsThatDieOrDoNotListenHoldUpNobody) {
  connected(raw_image());
  good(writable());
  auto& deaf = client(true);
  for (int i = 0; i < 100; ++i) deaf.send(test::request({CommandType::read, 0, 1 << 20}));
  auto& dying = client();
  dying.send(test::request({CommandType::write, 0, 4096}).fill(100, 1));
  dying.hang_up();
  auto& other = client();
  other.send(test::request({CommandType::flush}));
  EXPECT_EQ(other.simple_reply(), Reply(1, NbdError::none));
  expect_writes_and_reads(*frontend_);
  good({"export", "web1:xvda", "--stop"});
}

// --- what is refused ---
TEST_F(ExportCommand, RefusesWhatCannotBe) {
  toolstack_.add_disk(named_disk("raw:/nowhere"));
  expect_node(disk(""), "image-state", "failed");
  EXPECT_EQ(refused(writable()), "its image is not open");
  EXPECT_EQ(refused({"export", "7/1", "--stop"}), "no such disk: \"7/1\"");
  EXPECT_EQ(refused({"export", "web1:xvda"}, 2),
            "export needs --socket or --stop (see xenblkctl export --help)");
  EXPECT_TRUE(refused({"export", "web1:xvda", "--socket", "x", "--stop"}, 2).contains("excludes"));
}

TEST_F(ExportCommand, TheImageIsNotChangedUnderItsClients) {
  connected(vhd_image());
  good(writable());
  const std::string why = "it is exported: xenblkctl export DISK --stop ends that";
  EXPECT_EQ(refused({"snapshot", "web1:xvda", "--to", directory_.path("child.vhd")}), why);
  EXPECT_EQ(refused({"check", "web1:xvda"}), why);
  EXPECT_EQ(refused({"resize", "web1:xvda", "8M"}), why);
  good({"export", "web1:xvda", "--stop"});
  good({"snapshot", "web1:xvda", "--to", directory_.path("child.vhd")});
  good(writable());
  client();
}

TEST_F(ExportCommand, MakesSocketsInItsDirectoryOnly) {
  connected(raw_image());
  for (const auto* name : {"/tmp/x", "../x", ".", "..", ".x", "a/b", "run/"}) {
    EXPECT_EQ(refused({"export", "web1:xvda", "--socket", name}),
              "the socket of an export must lie in " + exports_ + ": \"" + name + "\"");
  }
  std::filesystem::create_directory(path_);
  EXPECT_EQ(refused(writable()), path_ + " exists and is no socket");
}

TEST_F(ExportCommand, AnEmptyDriveHasNothingToServe) {
  auto drive = named_disk("");
  drive.mode = "r";
  drive.device_type = "cdrom";
  connect(drive);
  EXPECT_EQ(refused({"export", "web1:xvda", "--socket", path_}), "there is no medium");
}

TEST_F(ControlTest, ADaemonWithoutADirectoryForItExportsNothing) {
  connect(named_disk(raw_image()));
  EXPECT_EQ(refused({"export", "web1:xvda", "--socket", "x"}), "disks are not exported here");
}

}  // namespace
}  // namespace xenblk::control
