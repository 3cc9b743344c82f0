// The control socket: lines that become commands, and a server with clients that keep no rule.
#include <poll.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/null_sink.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "backend/control/answer.h"
#include "backend/control/command.h"
#include "backend/control/server.h"
#include "backend/platform/loopback/loopback_xen.h"
#include "backend/platform/loopback/toolstack.h"
#include "tests/fuzz/reader.h"
#include "tests/ringio/memory_image.h"

namespace xenblk::fuzz {
namespace {

using control::Command;
using control::Verb;
using nlohmann::json;

std::string text_of(Input bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_printable(const std::string& text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

json value(Reader& input) {
  switch (input.below(11)) {
    case 0:
      return input.u64();
    case 1:
      return -static_cast<int>(input.u8());
    case 2:
      return text_of(input.bytes(input.below(12)));
    case 3:
      return true;
    case 4:
      return "/" + text_of(input.bytes(input.below(12)));
    case 5:
      return nullptr;
    case 6:
      return json::array({input.u8()});
    case 7:
      return std::string(input.below(5000), 'x');
    default:
      return 512U * (1U + input.u16());
  }
}

// Mostly a command that there is, with what it takes.
std::string some_line(Reader& input) {
  constexpr std::array kVerbs{"list",  "info",  "stats",    "metrics",  "explain",
                              "pause", "close", "resume",   "shutdown", "resize",
                              "limit", "check", "snapshot", "?"};
  constexpr std::array kKeys{"bytes", "iops", "bandwidth", "burst-ms", "none",
                             "mode",  "to",   "bitmaps",   "x"};
  json line = {{"version", 1}, {"command", kVerbs.at(input.below(kVerbs.size()))}};
  const auto what = input.u8();
  if (what % 4 != 0) line["disk"] = what % 8 == 1 ? "web1:xvda" : "7/51712";
  for (auto keys = what / 64; keys > 0; --keys)
    line[kKeys.at(input.below(kKeys.size()))] = value(input);
  if (what % 32 == 31) line["version"] = value(input);
  auto text = line.dump(-1, ' ', false, json::error_handler_t::replace);
  if (what % 16 == 15) text[input.below(text.size())] = static_cast<char>(input.u8());
  return text;
}

// What a client would have written to have this.
std::string line_of(const Command& command) {
  json line = {{"version", control::kProtocolVersion}, {"command", name(command.verb)}};
  if (command.disk) {
    const auto& disk = *command.disk;
    line["disk"] = disk.guest.empty()
                       ? std::to_string(disk.domain.n) + "/" + std::to_string(disk.device.n)
                       : disk.guest + ":" + disk.virtual_device;
  }
  if (command.verb == Verb::check) line["bitmaps"] = command.bitmaps;
  if (command.verb == Verb::snapshot) line["to"] = command.path;
  if (command.verb == Verb::resize) line["bytes"] = command.capacity.n * kSectorBytes;
  if (command.operations_per_second) line["iops"] = *command.operations_per_second;
  if (command.bytes_per_second) line["bandwidth"] = *command.bytes_per_second;
  if (command.burst_ms) line["burst-ms"] = *command.burst_ms;
  if (command.no_limits) line["none"] = true;
  if (command.verb == Verb::shutdown) {
    line["mode"] = command.shutdown == control::ShutdownMode::close ? "close" : "detach";
  }
  return line.dump();
}

// A whole daemon with one disk and no threads; the disk has no guest.
class World {
 public:
  World() {
    backend::BackendOptions options;
    options.open_image = [](const std::string&, Access) -> Expected<std::shared_ptr<Image>> {
      return std::make_shared<ringio::test::MemoryImage>(SectorCount{64});
    };
    options.run_aside = [this](const auto& work) { aside_.push_back(work); };
    options.start_worker = [](Xen&, const ringio::WorkerOptions&) {
      return Expected<std::unique_ptr<ringio::Worker>>(std::make_unique<NoWorker>());
    };
    backend_ = std::move(*backend::Backend::start(xen_.host(), *loop_, options, log_));
    service_ = std::make_unique<control::Service>(*backend_, [] {});
    const control::ServerOptions own{
        .path = "/tmp/xenblk-fuzz-" + std::to_string(::getpid()) + ".sock", .most_clients = 2};
    auto listener = control::Listener::make(own);
    FUZZ_EXPECT_OK(listener);
    server_ = std::make_unique<control::Server>(*loop_, *service_, std::move(*listener), own, log_);
    toolstack_.add_disk({.guest = {7}, .params = "a disk"});
    settle();
    FUZZ_EXPECT(backend_->devices().size() == 1);
  }
  ~World() {
    server_.reset();
    service_.reset();
    bool gone = false;
    backend_->detach([&] { gone = true; });
    settle();
    FUZZ_EXPECT(gone);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int connect() {
    const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto path = "/tmp/xenblk-fuzz-" + std::to_string(::getpid()) + ".sock";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    FUZZ_EXPECT(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
                0);
    return client;
  }

  // No message keeps the daemon busy for ever.
  void settle() {
    for (int turns = 0; loop_->turn() || !aside_.empty(); ++turns) {
      FUZZ_EXPECT(turns < 10'000);
      if (aside_.empty()) continue;
      aside_.front()();
      aside_.pop_front();
    }
  }

 private:
  // A disk without a guest has no queues.
  class NoWorker final : public ringio::Worker {
   public:
    void connect(ringio::QueueSetup, ConnectDone) override { broken("no queues", "", 0); }
    void disconnect(ringio::QueueId, DisconnectDone) override {}
    void detach(ringio::QueueId, DisconnectDone) override {}
    void set_capacity(ringio::QueueId, SectorCount, std::function<void()>) override {}
    void set_image(ringio::QueueId, std::shared_ptr<Image>, std::function<void()>) override {}
    void age_grants(ringio::QueueId) override {}
    void pause(ringio::QueueId, std::function<void()>) override {}
    void resume(ringio::QueueId) override {}
    void wake() override {}
    void set_polling(const ringio::PollingOptions&) override {}
    const ringio::WorkerCounters& counters() const override { return counters_; }

   private:
    ringio::WorkerCounters counters_;
  };

  loopback::LoopbackXen xen_;
  loopback::LoopbackToolstack toolstack_{xen_};
  std::deque<std::function<void()>> aside_;
  spdlog::logger log_{"", std::make_shared<spdlog::sinks::null_sink_st>()};
  std::unique_ptr<backend::EventLoop> loop_ = std::move(*backend::EventLoop::make());
  std::unique_ptr<backend::Backend> backend_;
  std::unique_ptr<control::Service> service_;
  std::unique_ptr<control::Server> server_;
};

// Changes nothing that another input could notice.
bool only_looks(const std::string& line) {
  const auto command = control::parse_command(line);
  if (!command) return true;
  constexpr std::array kLooks{Verb::list, Verb::info, Verb::stats, Verb::metrics, Verb::explain};
  return std::ranges::find(kLooks, command->verb) != kLooks.end();
}

// Sends in pieces, reads or does not, and goes at any moment.
class Client {
 public:
  Client(Reader& input, World& world) : input_(input), world_(world), own_(world.connect()) {}
  ~Client() { hang_up(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void run() {
    while (!input_.empty() && own_ >= 0) step();
    if (own_ < 0) return;
    ::shutdown(own_, SHUT_WR);
    for (int rounds = 0; rounds < 100; ++rounds) {
      world_.settle();
      receive();
    }
    check();
  }
  bool only_looked() const { return only_looks_; }

 private:
  void step() {
    const auto what = input_.u8();
    if (what < 150) {
      send(some_line(input_) + "\n");
    } else if (what < 180) {
      send(text_of(input_.bytes(input_.below(20))));
    } else if (what < 190) {
      send(std::string(input_.u16() % 6000, 'x'));
    } else if (what < 200) {
      send("\n");
    } else if (what < 230) {
      world_.settle();
    } else if (what < 250) {
      receive();
    } else if (what < 252) {
      hang_up();
    }
  }
  void send(const std::string& text) {
    const auto count = ::send(own_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count > 0) sent_.append(text, 0, static_cast<std::size_t>(count));
  }
  void receive() {
    std::array<char, 4096> part;
    const auto count = ::recv(own_, part.data(), part.size(), MSG_DONTWAIT);
    if (count > 0) received_.append(part.data(), static_cast<std::size_t>(count));
  }
  void hang_up() {
    if (own_ >= 0) ::close(own_);
    own_ = -1;
    world_.settle();
    look_at_sent();
  }

  std::size_t look_at_sent() {
    std::size_t lines = 0;
    std::size_t begin = 0;
    for (auto end = sent_.find('\n'); end != std::string::npos; end = sent_.find('\n', begin)) {
      ++lines;
      only_looks_ = only_looks_ && only_looks(sent_.substr(begin, end - begin));
      too_long_ = too_long_ || end - begin > control::kLongestLine;
      begin = end + 1;
    }
    too_long_ = too_long_ || sent_.size() - begin > control::kLongestLine;
    return lines;
  }

  // An answer to each line, unless one is still being carried out or the message was too long.
  void check() {
    const auto lines = look_at_sent();
    std::size_t answers = 0;
    std::size_t begin = 0;
    for (auto end = received_.find('\n'); end != std::string::npos;
         end = received_.find('\n', begin)) {
      ++answers;
      const auto answer = json::parse(received_.substr(begin, end - begin), nullptr, false);
      FUZZ_EXPECT(answer.is_object() && answer.at("version") == 1);
      FUZZ_EXPECT(answer.at("ok") == true ? answer.contains("result")
                                          : is_printable(answer.at("error")));
      begin = end + 1;
    }
    FUZZ_EXPECT(begin == received_.size());
    FUZZ_EXPECT(answers <= lines + 1);
    if (only_looks_ && !too_long_) FUZZ_EXPECT(answers == lines);
  }

  Reader& input_;
  World& world_;
  int own_;
  std::string sent_, received_;
  bool only_looks_ = true, too_long_ = false;
};

}  // namespace

// What is understood says the same when it is written out and read again.
void control_line(Input bytes) {
  Reader input(bytes);
  const auto line = input.below(4) == 0 ? text_of(input.rest()) : some_line(input);
  const auto command = control::parse_command(line);
  if (!command) {
    FUZZ_EXPECT(command.error().code == Errc::bad_spec);
    FUZZ_EXPECT(is_printable(command.error().text));
    const auto answer = json::parse(control::bad_answer(command.error()), nullptr, false);
    return FUZZ_EXPECT(answer.is_object() && answer.at("ok") == false);
  }
  const bool limits =
      command->operations_per_second || command->bytes_per_second || command->burst_ms;
  if (command->verb == Verb::limit) FUZZ_EXPECT(limits != command->no_limits);
  const auto own = line_of(*command);
  const auto again = control::parse_command(own);
  FUZZ_EXPECT_OK(again);
  FUZZ_EXPECT(line_of(*again) == own);
}

void control_server(Input bytes) {
  static std::optional<World> world;
  if (!world) world.emplace();
  Reader input(bytes);
  bool only_looked = true;
  {
    Client client(input, *world);
    client.run();
    only_looked = client.only_looked();
  }
  if (!only_looked) world.reset();
}

}  // namespace xenblk::fuzz
