// A loopback host with a control socket, clients of it, and xenblkctl.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "backend/control/server.h"
#include "tests/backend/loopback_fixture.h"
#include "tests/tools/program.h"

namespace xenblk::control {

// A connection that a test writes to and reads from as it likes.
class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
  }
  ~RawClient() { hang_up(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool send(const std::string& text) const {
    std::size_t sent = 0;
    while (sent < text.size()) {
      const auto count = ::send(descriptor_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<std::size_t>(count);
    }
    return true;
  }
  void end_sending() const { ::shutdown(descriptor_, SHUT_WR); }
  void hang_up() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
  // The next line without its end; empty when the server has closed.
  std::string line() {
    while (true) {
      if (const auto end = text_.find('\n'); end != std::string::npos) {
        const auto line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return line;
      }
      pollfd readable{descriptor_, POLLIN, 0};
      if (::poll(&readable, 1, 60'000) != 1) return "(nothing in time)";
      char part[4096];
      const auto count = ::recv(descriptor_, part, sizeof part, 0);
      if (count <= 0) return {};
      text_.append(part, static_cast<std::size_t>(count));
    }
  }
  nlohmann::json ask(const std::string& message) {
    send(message + "\n");
    return nlohmann::json::parse(line(), nullptr, false);
  }
  std::string error(const std::string& message) { return ask(message).value("error", "none"); }

 private:
  int descriptor_;
  std::string text_;
};

class ControlTest : public backend::LoopbackTest {
 protected:
  static constexpr std::size_t kMostClients = 4;

  void SetUp() override {
    LoopbackTest::SetUp();
    start_server();
  }
  void TearDown() override {
    end_server();
    LoopbackTest::TearDown();
  }
  void start_server() {
    host_->run([this](backend::EventLoop& loop, backend::Backend& backend) {
      service_ = std::make_unique<Service>(backend, [this] { ++ends_; });
      const ServerOptions options{.path = socket_, .most_clients = kMostClients};
      auto listener = Listener::make(options);
      ASSERT_TRUE(listener.has_value()) << describe(listener.error());
      server_ = std::make_unique<Server>(loop, *service_, std::move(*listener), options, log_);
    });
  }
  void end_server() {
    if (!host_) return;
    host_->run([this](backend::EventLoop&, backend::Backend&) {
      server_.reset();
      service_.reset();
    });
  }
  loopback::Disk named_disk(const std::string& params, std::uint32_t device = 51712,
                            const std::string& name = "xvda") {
    set_node("/local/domain/7/name", "web1");
    auto one = disk(params, device);
    one.extra["dev"] = name;
    return one;
  }

  test::Ended ctl(std::vector<std::string> words) const {
    words.insert(words.begin(), {XENBLK_CTL_PROGRAM, "--socket", socket_});
    test::Running running(words, directory_.path(""));
    return running.wait();
  }
  // Expects that it ends well; its output.
  std::string good(const std::vector<std::string>& words) const {
    const auto ended = ctl(words);
    EXPECT_EQ(ended.status, 0) << ended.err;
    EXPECT_EQ(ended.err, "");
    return ended.out;
  }
  nlohmann::json json(std::vector<std::string> words) const {
    words.push_back("--json");
    return nlohmann::json::parse(good(words), nullptr, false);
  }
  // Expects that it ends so, with nothing on stdout and one line on stderr; that line.
  std::string refused(const std::vector<std::string>& words, int status = 1) const {
    const auto ended = ctl(words);
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(std::ranges::count(ended.err, '\n'), 1) << ended.err;
    const std::string begin = "xenblkctl: ";
    EXPECT_TRUE(ended.err.starts_with(begin)) << ended.err;
    return ended.err.substr(begin.size(), ended.err.size() - begin.size() - 1);
  }
  // The daemon is told to end in the turn of the loop that gives the answer, after it.
  void expect_ends(int count) {
    host_->run([&](backend::EventLoop&, backend::Backend&) { EXPECT_EQ(ends_, count); });
  }

  std::string socket_ = directory_.path("control.sock");
  std::atomic<int> ends_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Server> server_;
};

}  // namespace xenblk::control
