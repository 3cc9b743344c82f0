#include "backend/control/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/logger.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "backend/control/peer.h"

namespace xenblk::control {

namespace {

constexpr int kWaitingConnections = 16;

Expected<int> listen_at(const ServerOptions& options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options.path.size() >= sizeof address.sun_path) {
    return fail(Errc::bad_spec, options.path + ": too long for the path of a socket");
  }
  std::memcpy(address.sun_path, options.path.c_str(), options.path.size());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) return fail_os(errno, "control socket");
  const auto failed = [&] {
    const int reason = errno;
    ::close(listener);
    return fail_os(reason, options.path);
  };
  ::unlink(options.path.c_str());
  // Nobody gets in before owner and mode are what they must be.
  const auto mask = ::umask(0177);
  const int bound = ::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(mask);
  if (bound != 0) return failed();
  if (options.group &&
      (::chown(options.path.c_str(), static_cast<uid_t>(-1), *options.group) != 0 ||
       ::chmod(options.path.c_str(), 0660) != 0)) {
    return failed();
  }
  if (::listen(listener, kWaitingConnections) != 0) return failed();
  return listener;
}

bool changes_something(Verb verb) {
  switch (verb) {
    case Verb::list:
    case Verb::info:
    case Verb::stats:
    case Verb::metrics:
    case Verb::explain:
    case Verb::check:
      return false;
    case Verb::pause:
    case Verb::resume:
    case Verb::close:
    case Verb::resize:
    case Verb::snapshot:
    case Verb::coalesce:
    case Verb::limit:
    case Verb::export_disk:
    case Verb::shutdown:
      return true;
  }
  return true;
}

}  // namespace

Expected<Listener> Listener::make(const ServerOptions& options) {
  const auto descriptor = listen_at(options);
  if (!descriptor) return std::unexpected(descriptor.error());
  return Listener(options.path, *descriptor);
}

Listener::Listener(Listener&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

Listener::~Listener() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(path_.c_str());
}

Server::Server(backend::EventLoop& loop, Service& service, Listener listener, ServerOptions options,
               spdlog::logger& log)
    : loop_(loop),
      service_(service),
      options_(std::move(options)),
      log_(log),
      listener_(std::move(listener)) {
  loop_.watch_descriptor(listener_.descriptor(), [this] { accept_clients(); });
}

Server::~Server() {
  while (!clients_.empty()) drop(*clients_.begin()->second);
  loop_.forget_descriptor(listener_.descriptor());
}

// One at a time: the loop comes back while there are more.
void Server::accept_clients() {
  const int descriptor =
      ::accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (descriptor < 0) return;
  add_client(descriptor);
}

// Whoever has been idle longest makes room for the next one. Nobody does while a command of theirs
// is being carried out.
bool Server::make_room() {
  if (clients_.size() < options_.most_clients) return true;
  const Client* idle = nullptr;
  for (const auto& [descriptor, client] : clients_) {
    if (client->busy || (idle != nullptr && idle->used_at < client->used_at)) continue;
    idle = client.get();
  }
  if (idle == nullptr) return false;
  drop(*idle);
  return true;
}

void Server::add_client(int descriptor) {
  const auto peer = check_peer(descriptor, options_.group);
  if (!peer || !make_room()) {
    const Error full{Errc::no_memory, 0, "too many clients are waiting for their commands"};
    const auto line = bad_answer(peer ? full : peer.error()) + "\n";
    // Fits into the empty buffer of a new connection; if not, the client sees its end.
    [[maybe_unused]] const auto sent =
        ::send(descriptor, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    ::close(descriptor);
    return;
  }
  auto client = std::make_shared<Client>(Client{.descriptor = descriptor, .user = *peer});
  client->used_at = ++uses_;
  clients_[descriptor] = client;
  loop_.watch_events(descriptor, POLLIN, [this, weak = std::weak_ptr(client)](short seen) {
    if (const auto there = weak.lock()) ready(there, seen);
  });
}

void Server::ready(const ClientPointer& client, short seen) {
  client->used_at = ++uses_;
  if ((seen & POLLIN) != 0) {
    receive(*client);
  } else if ((seen & (POLLHUP | POLLERR)) != 0) {
    return drop(*client);  // gone altogether, and with it whoever wanted an answer
  }
  if ((seen & POLLOUT) != 0) send(*client);
  go_on(client);
}

void Server::receive(Client& client) {
  std::array<char, kLongestLine> part{};
  const auto count = ::recv(client.descriptor, part.data(), part.size(), MSG_DONTWAIT);
  if (count > 0) {
    client.in.append(part.data(), static_cast<std::size_t>(count));
  } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
    client.ended = true;  // its last command may still be answered
  }
}

// Takes what can be taken now, and says what to wait for.
void Server::go_on(const ClientPointer& client) {
  take_lines(client);
  if (!clients_.contains(client->descriptor) || clients_[client->descriptor] != client) return;
  if (client->ended && !client->busy && client->out.empty()) return drop(*client);
  // Two parts at most are kept of what a client sends ahead.
  const bool wants_more = !client->ended && client->in.size() <= kLongestLine;
  const int events = (wants_more ? POLLIN : 0) | (client->out.empty() ? 0 : POLLOUT);
  loop_.change_events(client->descriptor, static_cast<short>(events));
}

void Server::take_lines(const ClientPointer& client) {
  while (!client->busy && client->out.empty()) {
    const auto end = client->in.find('\n');
    if (end != std::string::npos) {
      const auto line = client->in.substr(0, end);
      client->in.erase(0, end + 1);
      take_line(client, line);
    } else if (client->in.size() > kLongestLine) {
      // Where the next message begins cannot be known.
      client->in.clear();
      client->ended = true;
      say(*client, bad_answer({Errc::bad_spec, 0, "the message is too long"}));
    } else {
      return;
    }
  }
}

void Server::take_line(const ClientPointer& client, const std::string& line) {
  const auto command = parse_command(line);
  if (!command) return say(*client, bad_answer(command.error()));
  if (changes_something(command->verb)) {
    // What was accepted has no unprintable bytes outside of strings, and names are quoted.
    log_.info("control: {} ({})", name(command->verb), client->user);
  }
  client->busy = true;
  const std::weak_ptr<Client> weak = client;
  service_.execute(*command, {[this, weak](std::string answer) {
                                const auto there = weak.lock();
                                if (!there) return;
                                there->busy = false;
                                say(*there, answer);
                                // An answer that comes at once is inside go_on() already.
                                loop_.post([this, weak] {
                                  if (const auto again = weak.lock()) go_on(again);
                                });
                              },
                              [weak] { return !weak.expired(); }});
}

void Server::say(Client& client, const std::string& line) {
  client.out = line + "\n";
  send(client);
}

void Server::send(Client& client) {
  const auto count =
      ::send(client.descriptor, client.out.data(), client.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count >= 0) {
    client.out.erase(0, static_cast<std::size_t>(count));
  } else if (errno != EAGAIN && errno != EINTR) {
    client.out.clear();
    client.ended = true;
  }
}

void Server::drop(const Client& client) {
  const int descriptor = client.descriptor;
  loop_.forget_descriptor(descriptor);
  ::close(descriptor);
  clients_.erase(descriptor);
}

}  // namespace xenblk::control
