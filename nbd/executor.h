// Carries out the requests of one connection: cuts them into pieces that have memory, gives those
// to the image, and queues the replies as they become ready, in whatever order. Knows nothing of
// sockets. Pinned; one thread, the engine's.
//
// Requests are taken one after the other; each is under way from then on, beside the others. When
// there is no memory or no slot for the next piece, nothing is taken: the client waits, and
// whatever it asks for costs what was set aside when it connected.
#pragma once

#include <memory>
#include <span>

#include "nbd/command.h"
#include "nbd/terms.h"
#include "ringio/buffer_pool.h"

namespace xenblk::nbd {

class Executor {
 public:
  static constexpr std::uint32_t kCommands = 128;
  static constexpr std::uint32_t kPieces = 128;
  static constexpr std::uint32_t kArenaBytes = 4U << 20;
  // Small enough that several are under way; a reply that must be in one chunk may be larger.
  static constexpr std::uint32_t kPieceBytes = 256U << 10;
  static constexpr std::uint32_t kChunkBytesMax = ringio::BufferPool::kMaxBytes;

  struct Parts {
    Image& image;
    IoEngine& engine;
    const Terms& terms;
    // Called when something has changed that did not come from a call: replies to send, room for
    // more requests. Not inside a call of ours.
    void (*wake)(void* owner) noexcept = nullptr;
    void* owner = nullptr;
  };

  // Errors: no_memory.
  static Expected<std::unique_ptr<Executor>> make(const Parts& parts);
  ~Executor();  // idle()
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void set_agreed(bool structured_replies, bool block_status);

  enum class Progress : std::uint8_t {
    ready,    // begin() may be called
    payload,  // wants the client's data in payload_space()
    blocked,  // until wake()
  };
  // Goes on with what was begun as far as it can.
  Progress advance() noexcept;
  // Only after `ready`.
  void begin(const Request& request) noexcept;
  // Where the next of the client's data belongs; not empty after `payload`. So much was put there.
  std::span<std::byte> payload_space() noexcept;
  void payload_filled(std::size_t bytes) noexcept;

  // What is to be sent, in this order; the first one is taken off and given back when it was.
  OutputList& outputs() { return outputs_; }
  void sent(Output& output) noexcept;

  // Nothing more will come of the request that is being taken: it fails, with `shutdown`.
  void cut_off() noexcept;
  // Nothing more can be sent: what is under way ends without a reply.
  void abandon() noexcept;

  // Half of a reply was said that cannot be ended: the connection must be closed.
  bool broken() const { return broken_; }
  bool taking_payload() const;
  bool idle() const { return commands_open_ == 0; }
  bool at_image() const { return at_image_ != 0; }

 private:
  Executor(const Parts& parts, ringio::Arena arena);

  bool issue_next(Command& command) noexcept;
  bool issue_status(Command& command) noexcept;
  Piece* take_piece(Command& command, std::uint32_t bytes, bool with_buffer) noexcept;
  std::uint32_t next_piece_bytes(const Command& command) const;
  bool must_wait_alone(const Command& command) const;
  void submit_piece(Piece& piece, ImageOp op) noexcept;
  void submit_whole(Command& command, ImageOp op) noexcept;
  void piece_done(Piece& piece) noexcept;
  void whole_done(Command& command) noexcept;
  void queue_data(Piece& piece) noexcept;
  void queue_answer(Command& command) noexcept;
  void queue(Output& output) noexcept;
  void close_piece(Piece& piece) noexcept;
  void finish_if_complete(Command& command) noexcept;
  void release(Command& command) noexcept;
  void fail(Command& command, NbdError error) noexcept;
  void wake() noexcept { parts_.wake(parts_.owner); }

  const Parts parts_;
  Agreed agreed_;
  ringio::Arena arena_;
  ringio::BufferPool buffers_;
  std::unique_ptr<Command[]> commands_;
  std::unique_ptr<Piece[]> pieces_;
  OutputList free_commands_;
  OutputList free_pieces_;
  OutputList outputs_;
  Command* current_ = nullptr;  // being taken
  Piece* filling_ = nullptr;    // of `current_`, a write
  std::uint32_t commands_open_ = 0;
  std::uint32_t at_image_ = 0;
  bool abandoned_ = false;
  bool broken_ = false;
};

}  // namespace xenblk::nbd
