#include "nbd/executor.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "nbd/extents.h"

namespace xenblk::nbd {
namespace {

constexpr std::uint32_t kPayloadScratchBytes = 64U << 10;

// Where data goes that nobody wants; never read, so all connections of a thread may share it.
std::span<std::byte> scratch() {
  thread_local std::array<std::byte, kPayloadScratchBytes> memory;
  return memory;
}

// An image only reads what it is to write.
std::byte* zeroes() {
  alignas(kPageBytes) static std::array<std::byte, Executor::kPieceBytes> memory = {};
  return memory.data();
}

NbdError error_of(IoStatus status) {
  switch (status) {
    case IoStatus::okay:
      return NbdError::none;
    case IoStatus::io_error:
      return NbdError::io;
    case IoStatus::no_space:
      return NbdError::no_space;
    case IoStatus::read_only:
      return NbdError::not_permitted;
    case IoStatus::out_of_range:
      return NbdError::invalid;
    case IoStatus::unsupported:
      return NbdError::not_supported;
  }
  return NbdError::io;
}

bool is_read(const Command& command) {
  return command.request.is(CommandType::read);
}

bool is_write(const Command& command) {
  return command.request.is(CommandType::write);
}

// Zeroes that must take space are written as data.
bool writes_zeroes(const Command& command) {
  return command.request.is(CommandType::write_zeroes) && command.request.has(kNoHole);
}

// What the image does in one piece, as there is no data.
ImageOp whole_operation(const Request& request) {
  if (request.is(CommandType::flush)) return ImageOp::flush;
  return request.is(CommandType::trim) ? ImageOp::discard : ImageOp::write_zeroes;
}

bool wants_flush(const Command& command) {
  const bool changes = is_write(command) || command.request.is(CommandType::trim) ||
                       command.request.is(CommandType::write_zeroes);
  return changes && command.request.has(kFua) && !command.flushed;
}

}  // namespace

Expected<std::unique_ptr<Executor>> Executor::make(const Parts& parts) {
  auto arena = ringio::Arena::make(kArenaBytes);
  if (!arena) return std::unexpected(std::move(arena.error()));
  return std::unique_ptr<Executor>(new Executor(parts, std::move(*arena)));
}

Executor::Executor(const Parts& parts, ringio::Arena arena)
    : parts_(parts),
      arena_(std::move(arena)),
      buffers_(arena_.memory()),
      commands_(std::make_unique<Command[]>(kCommands)),
      pieces_(std::make_unique<Piece[]>(kPieces)) {
  for (std::uint32_t i = 0; i < kCommands; ++i) {
    commands_[i].executor = this;
    free_commands_.push_back(commands_[i]);
  }
  for (std::uint32_t i = 0; i < kPieces; ++i) {
    pieces_[i].is_piece = true;
    free_pieces_.push_back(pieces_[i]);
  }
}

Executor::~Executor() {
  assert(idle() && at_image_ == 0 && outputs_.empty());
  free_commands_.clear();
  free_pieces_.clear();
}

void Executor::set_agreed(bool structured_replies, bool block_status) {
  agreed_ = {structured_replies, block_status, kChunkBytesMax};
}

bool Executor::taking_payload() const {
  return current_ != nullptr && is_write(*current_) && current_->bytes_left != 0;
}

Executor::Progress Executor::advance() noexcept {
  while (current_ != nullptr) {
    Command& command = *current_;
    if (command.bytes_left == 0) {
      assert(filling_ == nullptr);
      current_ = nullptr;
      command.taken = true;
      finish_if_complete(command);
      continue;
    }
    if (is_write(command)) {
      if (filling_ != nullptr || command.error != NbdError::none) return Progress::payload;
      filling_ = take_piece(command, next_piece_bytes(command), true);
      return filling_ == nullptr ? Progress::blocked : Progress::payload;
    }
    if (!issue_next(command)) return Progress::blocked;
  }
  return free_commands_.empty() ? Progress::blocked : Progress::ready;
}

void Executor::begin(const Request& request) noexcept {
  assert(current_ == nullptr && !free_commands_.empty());
  auto& command = static_cast<Command&>(free_commands_.front());
  free_commands_.pop_front();
  ++commands_open_;
  command.request = request;
  command.pieces_open = 0;
  command.at_image = 0;
  command.error = check_request(request, parts_.terms, agreed_);
  command.taken = false;
  command.flushed = false;
  command.answered = false;
  command.bytes_left = request.payload_bytes();
  current_ = &command;
  if (is_write(command) || command.error != NbdError::none) return;
  if (is_read(command) || writes_zeroes(command) || request.is(CommandType::block_status)) {
    command.bytes_left = request.bytes;
    return;
  }
  submit_whole(command, whole_operation(request));
}

std::uint32_t Executor::next_piece_bytes(const Command& command) const {
  const bool in_one =
      is_read(command) && (!agreed_.structured_replies || command.request.has(kDontFragment));
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(command.bytes_left, in_one ? kChunkBytesMax : kPieceBytes));
}

// A simple reply is one frame with all the data: when those come in several pieces, no other reply
// may get between them, and one must be there before the next is read.
bool Executor::must_wait_alone(const Command& command) const {
  if (!is_read(command) || agreed_.structured_replies) return false;
  if (command.request.bytes <= kChunkBytesMax) return false;
  return commands_open_ > 1 || command.pieces_open != 0;
}

bool Executor::issue_next(Command& command) noexcept {
  if (command.request.is(CommandType::block_status)) return issue_status(command);
  if (must_wait_alone(command)) return false;
  const bool reading = is_read(command);
  Piece* const piece = take_piece(command, next_piece_bytes(command), reading);
  if (piece == nullptr) return false;
  submit_piece(*piece, reading ? ImageOp::read : ImageOp::write);
  return true;
}

Piece* Executor::take_piece(Command& command, std::uint32_t bytes, bool with_buffer) noexcept {
  if (free_pieces_.empty()) return nullptr;
  std::byte* const buffer = with_buffer ? buffers_.take(bytes) : nullptr;
  if (with_buffer && buffer == nullptr) return nullptr;
  auto& piece = static_cast<Piece&>(free_pieces_.front());
  free_pieces_.pop_front();
  piece.command = &command;
  piece.buffer = buffer;
  piece.bytes = bytes;
  piece.filled = 0;
  ++command.pieces_open;
  return &piece;
}

std::span<std::byte> Executor::payload_space() noexcept {
  assert(current_ != nullptr);
  if (filling_ != nullptr) {
    return {filling_->buffer + filling_->filled, filling_->bytes - filling_->filled};
  }
  return scratch().first(std::min<std::uint64_t>(current_->bytes_left, scratch().size()));
}

void Executor::payload_filled(std::size_t bytes) noexcept {
  assert(current_ != nullptr);
  if (filling_ == nullptr) {
    current_->bytes_left -= bytes;
    return;
  }
  filling_->filled += static_cast<std::uint32_t>(bytes);
  if (filling_->filled < filling_->bytes) return;
  Piece& piece = *std::exchange(filling_, nullptr);
  if (current_->error == NbdError::none) return submit_piece(piece, ImageOp::write);
  current_->bytes_left -= piece.bytes;
  close_piece(piece);
}

// The pieces of a command go out in the order of the disk.
void Executor::submit_piece(Piece& piece, ImageOp op) noexcept {
  Command& command = *piece.command;
  const auto offset = command.request.offset + (command.request.bytes - command.bytes_left);
  command.bytes_left -= piece.bytes;
  piece.op = op;
  piece.first = {offset / kSectorBytes};
  piece.count = {piece.bytes / kSectorBytes};
  piece.ImageRequest::data = piece.buffer != nullptr ? piece.buffer : zeroes();
  piece.engine = &parts_.engine;
  piece.done = [](ImageRequest& request) noexcept {
    auto& done = static_cast<Piece&>(request);
    done.command->executor->piece_done(done);
  };
  ++command.at_image;
  ++at_image_;
  parts_.image.submit(piece);
}

void Executor::submit_whole(Command& command, ImageOp op) noexcept {
  command.op = op;
  command.first = {command.request.offset / kSectorBytes};
  command.count = {command.request.bytes / kSectorBytes};
  command.ImageRequest::data = nullptr;
  command.engine = &parts_.engine;
  command.done = [](ImageRequest& request) noexcept {
    auto& done = static_cast<Command&>(request);
    done.executor->whole_done(done);
  };
  ++command.pieces_open;
  ++at_image_;
  parts_.image.submit(command);
}

void Executor::piece_done(Piece& piece) noexcept {
  Command& command = *piece.command;
  --command.at_image;
  --at_image_;
  if (piece.status != IoStatus::okay) fail(command, error_of(piece.status));
  if (is_read(command) && command.error == NbdError::none) {
    queue_data(piece);
  } else {
    close_piece(piece);
  }
  wake();
}

void Executor::whole_done(Command& command) noexcept {
  --at_image_;
  --command.pieces_open;
  if (command.op == ImageOp::flush) command.flushed = true;
  // To trim is to offer: a disk that has no use for it has not failed.
  const bool declined = command.op == ImageOp::discard && command.status == IoStatus::unsupported;
  if (command.status != IoStatus::okay && !declined) fail(command, error_of(command.status));
  finish_if_complete(command);
  wake();
}

// The first failure is the one that is told. What was not begun is not begun any more, but the data
// of a write are still to come.
void Executor::fail(Command& command, NbdError error) noexcept {
  if (command.error == NbdError::none) command.error = error;
  if (!is_write(command)) command.bytes_left = 0;
}

void Executor::queue_data(Piece& piece) noexcept {
  Command& command = *piece.command;
  ByteWriter frame(piece.frame);
  if (agreed_.structured_replies) {
    const bool last = command.bytes_left == 0 && command.at_image == 0;
    put_chunk_header(frame, ChunkType::offset_data, last, command.request.cookie,
                     sizeof(std::uint64_t) + piece.bytes);
    frame.put(piece.first.n * kSectorBytes);
    command.answered = last;
  } else if (!command.answered) {
    put_simple_reply(frame, NbdError::none, command.request.cookie);
    command.answered = true;
  }
  piece.frame_bytes = static_cast<std::uint32_t>(frame.size());
  piece.Output::data = piece.buffer;
  piece.data_bytes = piece.bytes;
  queue(piece);
}

bool Executor::issue_status(Command& command) noexcept {
  Piece* const piece = take_piece(command, kExtentBytesMax, true);
  if (piece == nullptr) return false;
  const auto bytes = describe_extents(
      parts_.image, {command.request.offset / kSectorBytes}, {command.request.bytes / kSectorBytes},
      command.request.has(kRequestOne), {piece->buffer, kExtentBytesMax});
  ByteWriter frame(piece->frame);
  put_chunk_header(frame, ChunkType::block_status, true, command.request.cookie,
                   sizeof(std::uint32_t) + bytes);
  frame.put(kBaseAllocationId);
  piece->frame_bytes = static_cast<std::uint32_t>(frame.size());
  piece->Output::data = piece->buffer;
  piece->data_bytes = bytes;
  command.answered = true;
  command.bytes_left = 0;
  queue(*piece);
  return true;
}

void Executor::queue(Output& output) noexcept {
  if (abandoned_) return sent(output);
  outputs_.push_back(output);
}

void Executor::sent(Output& output) noexcept {
  if (output.is_piece) return close_piece(static_cast<Piece&>(output));
  release(static_cast<Command&>(output));
}

void Executor::close_piece(Piece& piece) noexcept {
  Command& command = *piece.command;
  if (piece.buffer != nullptr) buffers_.give_back(piece.buffer);
  free_pieces_.push_front(piece);
  --command.pieces_open;
  finish_if_complete(command);
}

void Executor::finish_if_complete(Command& command) noexcept {
  if (!command.taken || command.pieces_open != 0) return;
  if (command.error == NbdError::none && wants_flush(command) && !abandoned_) {
    return submit_whole(command, ImageOp::flush);
  }
  if (!command.answered) return queue_answer(command);
  if (command.error != NbdError::none) broken_ = true;
  release(command);
}

void Executor::queue_answer(Command& command) noexcept {
  ByteWriter frame(command.frame);
  const bool chunk = agreed_.structured_replies &&
                     (is_read(command) || command.request.is(CommandType::block_status));
  if (chunk) {
    assert(command.error != NbdError::none);
    put_chunk_header(frame, ChunkType::error, true, command.request.cookie, 6);
    frame.put(command.error);
    frame.put(std::uint16_t{0});  // no text
  } else {
    put_simple_reply(frame, command.error, command.request.cookie);
  }
  command.answered = true;
  command.frame_bytes = static_cast<std::uint32_t>(frame.size());
  command.data_bytes = 0;
  queue(command);
}

void Executor::release(Command& command) noexcept {
  assert(commands_open_ != 0);
  --commands_open_;
  free_commands_.push_front(command);
}

void Executor::cut_off() noexcept {
  if (current_ == nullptr) return;
  Command& command = *std::exchange(current_, nullptr);
  if (command.bytes_left != 0) fail(command, NbdError::shutdown);
  command.bytes_left = 0;
  command.taken = true;
  if (filling_ != nullptr) return close_piece(*std::exchange(filling_, nullptr));
  finish_if_complete(command);
}

void Executor::abandon() noexcept {
  abandoned_ = true;
  cut_off();
  while (!outputs_.empty()) {
    Output& output = outputs_.front();
    outputs_.pop_front();
    sent(output);
  }
}

}  // namespace xenblk::nbd
