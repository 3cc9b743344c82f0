// One client: its socket, the handshake, and then requests. Pinned; one thread, the engine's. All
// it ever does is done in run(), which the engine calls soon after something has changed, and which
// is bounded, so that no client holds up another one.
#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "nbd/counters.h"
#include "nbd/executor.h"
#include "nbd/export_thread.h"
#include "nbd/handshake.h"
#include "nbd/terms.h"

namespace xenblk::nbd {

struct ConnectionTag;
using ConnectionHook = boost::intrusive::list_base_hook<boost::intrusive::tag<ConnectionTag>>;

class Connection final : public Task, public ConnectionHook, public SocketObserver {
 public:
  struct Parts {
    Image& image;
    IoEngine& engine;
    Terms terms;
    ExportCounters& counters;
    // The connection is closed and may be destroyed, in this call.
    void (*ended)(void* owner, Connection& connection) noexcept = nullptr;
    void* owner = nullptr;
  };
  // Takes the socket over, which does not block, also when it fails. Errors: no_memory.
  static Expected<std::unique_ptr<Connection>> make(int socket, Parts parts);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void socket_events(std::uint32_t events) noexcept override;
  // Takes no more requests; ends once the image has done what was begun. Replies are sent as far as
  // the client takes them at once.
  void stop() noexcept;

  // A byte at least has come.
  bool has_spoken() const { return has_spoken_; }

 private:
  static constexpr std::size_t kInputBytes = 16U << 10;
  static_assert(kInputBytes >= Handshake::kInputBytesMax);
  enum class State : std::uint8_t {
    handshake,
    requests,
    draining,  // the client has said its last word
    stopping,  // we have
    closed,
  };

  Connection(int socket, Parts parts);
  void wake() noexcept;
  void run() noexcept;
  void take_input() noexcept;
  bool step() noexcept;
  bool step_handshake() noexcept;
  bool step_requests() noexcept;
  bool take_payload() noexcept;
  bool take_request() noexcept;
  bool fill_input() noexcept;
  std::size_t receive(std::span<std::byte> into) noexcept;
  bool send_output() noexcept;
  bool send_greetings() noexcept;
  bool send_replies() noexcept;
  std::size_t send_some(std::span<iovec> parts) noexcept;
  void count_sent(std::size_t bytes) noexcept;
  void no_more_input() noexcept;
  void close() noexcept;
  std::span<const std::byte> staged() const;

  int socket_;
  const Parts parts_;
  State state_ = State::handshake;
  bool has_spoken_ = false;
  bool posted_ = false;
  bool readable_ = true;  // for all that we know
  bool writable_ = true;
  bool client_gone_ = false;  // the socket's end may be near: read until it is seen
  bool close_when_said_ = false;
  Handshake handshake_;
  std::unique_ptr<Executor> executor_;
  // Received and not yet understood: [begin, end).
  std::array<std::byte, kInputBytes> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;
  // Of the handshake, not yet sent: [begin, end).
  std::array<std::byte, Handshake::kOutputBytesMax> greetings_;
  std::size_t greetings_begin_ = 0;
  std::size_t greetings_end_ = 0;
  std::uint64_t first_output_sent_bytes_ = 0;
};

}  // namespace xenblk::nbd
