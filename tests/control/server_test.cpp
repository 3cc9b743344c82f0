// The socket itself: clients that do what they must not do, and what the others notice of it.
#include <sys/stat.h>

#include "tests/control/control_fixture.h"

namespace xenblk::control {
namespace {

const std::string kList = R"({"version":1,"command":"list"})";

class ServerTest : public ControlTest {
 protected:
  void expect_served() {
    RawClient client(socket_);
    EXPECT_EQ(client.ask(kList)["ok"], true);
  }
};

TEST_F(ServerTest, AnswersOneLineAfterTheOther) {
  RawClient client(socket_);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.ask(kList).dump(), R"({"ok":true,"result":{"disks":[]},"version":1})");
  }
}

TEST_F(ServerTest, AnswersCommandsThatWereSentAheadInOrder) {
  RawClient client(socket_);
  client.send(kList + "\nnonsense\n" + kList + "\n");
  EXPECT_TRUE(client.line().contains("\"ok\":true"));
  EXPECT_TRUE(client.line().contains("not a JSON object"));
  EXPECT_TRUE(client.line().contains("\"ok\":true"));
}

TEST_F(ServerTest, AnswersALineThatComesInPieces) {
  RawClient client(socket_);
  for (const char c : kList) client.send({c});
  client.send("\n");
  EXPECT_TRUE(client.line().contains("\"ok\":true"));
}

TEST_F(ServerTest, AnswersAClientThatHasNothingMoreToSay) {
  RawClient client(socket_);
  client.send(kList + "\n");
  client.end_sending();
  EXPECT_TRUE(client.line().contains("\"ok\":true"));
  EXPECT_EQ(client.line(), "");
}

TEST_F(ServerTest, GoesOnAfterAMalformedMessage) {
  RawClient client(socket_);
  EXPECT_EQ(client.error("{"), "the message is not a JSON object");
  EXPECT_EQ(client.error(std::string("\0\x01\xff", 3)), "the message is not a JSON object");
  EXPECT_EQ(client.error(R"({"version":1,"command":"info","disk":"9/9"})"),
            "no such disk: \"9/9\"");
  EXPECT_EQ(client.ask(kList)["ok"], true);
}

TEST_F(ServerTest, ClosesAfterALineThatNeverEnds) {
  RawClient client(socket_);
  client.send(std::string(3 * kLongestLine, 'x'));
  EXPECT_TRUE(client.line().contains("the message is too long"));
  EXPECT_EQ(client.line(), "");
  expect_served();
}

TEST_F(ServerTest, KeepsLittleOfWhatIsSentAhead) {
  // While a command waits, what comes behind it stays in the socket, and its sender waits.
  connect(named_disk(raw_image()));
  RawClient client(socket_);
  client.send(R"({"version":1,"command":"close","disk":"7/51712"})"
              "\n");
  std::thread sender([&] {
    std::string lines;
    for (int i = 0; i < 20'000; ++i) lines += kList + "\n";
    client.send(lines);
  });
  expect_served();
  ASSERT_TRUE(frontend_->close().has_value());
  EXPECT_TRUE(client.line().contains("\"ok\":true"));
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(client.line().contains("\"ok\":true"));
  sender.join();
}

TEST_F(ServerTest, SurvivesClientsThatHangUpAtAnyPoint) {
  for (std::size_t length = 0; length <= kList.size(); ++length) {
    RawClient client(socket_);
    client.send(kList.substr(0, length) + (length == kList.size() ? "\n" : ""));
  }
  expect_served();
}

TEST_F(ServerTest, LetsTheOneThatWasIdleLongestGoForANewOne) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (std::size_t i = 0; i < kMostClients; ++i) {
    clients.push_back(std::make_unique<RawClient>(socket_));
    EXPECT_EQ(clients.back()->ask(kList)["ok"], true);
  }
  EXPECT_EQ(clients[0]->ask(kList)["ok"], true);
  expect_served();
  EXPECT_EQ(clients[1]->line(), "") << "it was idle longest";
  EXPECT_EQ(clients[0]->ask(kList)["ok"], true);
}

TEST_F(ServerTest, RefusesOneMoreWhenAllWaitForTheirCommands) {
  connect(named_disk(raw_image()));
  std::vector<std::unique_ptr<RawClient>> clients;
  for (std::size_t i = 0; i < kMostClients; ++i) {
    clients.push_back(std::make_unique<RawClient>(socket_));
    // Both arrive together: once the first is answered, the second waits for the guest.
    clients.back()->send(kList + "\n" + R"({"version":1,"command":"close","disk":"7/51712"})" +
                         "\n");
    EXPECT_TRUE(clients.back()->line().contains("\"ok\":true"));
  }
  RawClient more(socket_);
  EXPECT_TRUE(more.line().contains("too many clients"));
  ASSERT_TRUE(frontend_->close().has_value());
}

TEST_F(ServerTest, DropsTheAnswerOfAClientThatDidNotWait) {
  connect(named_disk(raw_image()));
  for (int i = 0; i < 20; ++i) {
    RawClient client(socket_);
    client.send(R"({"version":1,"command":"close","disk":"web1:xvda"})"
                "\n");
  }
  expect_served();
  ASSERT_TRUE(frontend_->close().has_value());
  expect_served();
}

TEST_F(ServerTest, IsForItsOwnerAlone) {
  struct stat status{};
  ASSERT_EQ(::stat(socket_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ServerTest, ReplacesASocketThatWasLeftBehind) {
  end_server();
  std::ofstream(socket_) << "left";
  start_server();
  expect_served();
}

TEST_F(ServerTest, RemovesItsSocket) {
  end_server();
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

// What XSA-528 was about in the kernel's backend: statistics that are read while the disk goes.
TEST_F(ServerTest, ReadsStatisticsWhileDisksComeAndGo) {
  std::atomic<bool> ending = false;
  std::thread reader([&] {
    RawClient client(socket_);
    while (!ending) {
      for (const auto* verb : {"stats", "metrics", "list"}) {
        const auto message = fmt::format(R"({{"version":1,"command":"{}"}})", verb);
        ASSERT_EQ(client.ask(message)["ok"], true);
      }
    }
  });
  for (int i = 0; i < 5; ++i) {
    const auto one = named_disk(raw_image());
    connect(one, {.queues = 2});
    expect_writes_and_reads(*frontend_);
    remove(one);
  }
  ending = true;
  reader.join();
}

}  // namespace
}  // namespace xenblk::control
