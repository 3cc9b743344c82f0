#include "tools/ctl/client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace xenblk::ctl {
namespace {

constexpr int kVersion = 1;

class Connection {
 public:
  explicit Connection(const Place& place)
      : place_(place), descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Connection() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Expected<void> connect();
  Expected<void> send(const std::string& text);
  Expected<std::string> receive_line();

 private:
  const Place& place_;
  const int descriptor_;
};

Expected<void> Connection::connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (place_.socket.size() >= sizeof address.sun_path) {
    return fail(Errc::bad_spec, place_.socket + ": too long for the path of a socket");
  }
  std::memcpy(address.sun_path, place_.socket.c_str(), place_.socket.size());
  const timeval patience{.tv_sec = place_.patience_seconds, .tv_usec = 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    ::setsockopt(descriptor_, SOL_SOCKET, option, &patience, sizeof patience);
  }
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_os(errno, fmt::format("cannot reach xenblkd at {}", place_.socket));
  }
  return {};
}

Expected<void> Connection::send(const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    const auto count = ::send(descriptor_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return fail_os(errno, "sending to xenblkd");
    sent += static_cast<std::size_t>(count);
  }
  return {};
}

Expected<std::string> Connection::receive_line() {
  std::string text;
  std::array<char, 65536> part{};
  while (true) {
    const auto count = ::recv(descriptor_, part.data(), part.size(), 0);
    if (count == 0) return fail(Errc::closed, "xenblkd went away without an answer");
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return fail(Errc::unavailable,
                  fmt::format("not done after {} s; it goes on by itself, see xenblkctl list",
                              place_.patience_seconds));
    }
    if (count < 0) return fail_os(errno, "the answer of xenblkd");
    text.append(part.data(), static_cast<std::size_t>(count));
    if (text.back() == '\n') return text;
  }
}

}  // namespace

Expected<Json> ask(const Place& place, Json command) {
  Connection connection(place);
  if (auto connected = connection.connect(); !connected) {
    return std::unexpected(std::move(connected.error()));
  }
  command["version"] = kVersion;
  const auto text = command.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (auto sent = connection.send(text); !sent) return std::unexpected(std::move(sent.error()));
  const auto line = connection.receive_line();
  if (!line) return std::unexpected(line.error());
  auto answer = Json::parse(*line, nullptr, false);
  if (!answer.is_object() || !answer.contains("ok")) {
    return fail(Errc::bad_spec, "the answer is not one of xenblkd");
  }
  if (answer["ok"] != true) return fail(Errc::refused, answer.value("error", "refused"));
  return std::move(answer["result"]);
}

}  // namespace xenblk::ctl
