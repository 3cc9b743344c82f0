// The control socket: JSON lines from local clients, each answered with a line. Everything a client
// can do is bounded: how many there are, how much of a line is kept, and one command at a time; a
// client that does not read its answer holds up itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "backend/control/service.h"
#include "backend/event_loop.h"
#include "xenblk/error.h"

namespace spdlog {
class logger;
}

namespace xenblk::control {

struct ServerOptions {
  std::string path;
  // May use the socket besides root, and besides the user that the daemon runs as.
  std::optional<gid_t> group = {};
  std::size_t most_clients = 32;
};

// The socket itself, where clients can already wait. Made before the process gives up its rights.
// Move-only; the destructor removes the socket.
class Listener {
 public:
  // Replaces a socket that an earlier daemon has left; the caller makes sure that none runs.
  // Errors: io, permission, bad_spec (the path is too long).
  static Expected<Listener> make(const ServerOptions& options);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();
  int descriptor() const { return descriptor_; }

 private:
  Listener(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  std::string path_;
  int descriptor_;
};

// Pinned; used by the loop's thread. The destructor drops all clients.
class Server {
 public:
  // `loop`, `service` and `log` are borrowed.
  Server(backend::EventLoop& loop, Service& service, Listener listener, ServerOptions options,
         spdlog::logger& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  struct Client {
    int descriptor;
    std::string user;           // for the log
    std::uint64_t used_at = 0;  // counts up, for finding whoever was idle longest
    std::string in;
    std::string out;
    bool busy = false;   // a command is being carried out
    bool ended = false;  // nothing more will come, or is wanted
  };
  using ClientPointer = std::shared_ptr<Client>;

  void accept_clients();
  bool make_room();
  void add_client(int descriptor);
  void ready(const ClientPointer& client, short seen);
  void receive(Client& client);
  void take_lines(const ClientPointer& client);
  void take_line(const ClientPointer& client, const std::string& line);
  void say(Client& client, const std::string& line);
  void send(Client& client);
  void go_on(const ClientPointer& client);
  void drop(const Client& client);

  backend::EventLoop& loop_;
  Service& service_;
  const ServerOptions options_;
  spdlog::logger& log_;
  const Listener listener_;
  std::uint64_t uses_ = 0;
  std::map<int, ClientPointer> clients_;
};

}  // namespace xenblk::control
