#include "nbd/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

namespace xenblk::nbd {
namespace {

// Steps of one run: requests, or payloads of up to a piece.
constexpr std::uint32_t kStepsPerRun = 64;
// Frames and data of this many replies go with one system call.
constexpr std::size_t kOutputsPerSend = 32;

}  // namespace

Expected<std::unique_ptr<Connection>> Connection::make(int socket, Parts parts) {
  std::unique_ptr<Connection> connection(new Connection(socket, std::move(parts)));
  auto& own = connection->parts_;
  auto executor =
      Executor::make({.image = own.image,
                      .engine = own.engine,
                      .terms = own.terms,
                      .wake = [](void* owner) noexcept { static_cast<Connection*>(owner)->wake(); },
                      .owner = connection.get()});
  if (!executor) return std::unexpected(std::move(executor.error()));
  connection->executor_ = std::move(*executor);
  ByteWriter out(connection->greetings_);
  Handshake::greet(out);
  connection->greetings_end_ = out.size();
  connection->wake();
  return connection;
}

Connection::Connection(int socket, Parts parts) : socket_(socket), parts_(std::move(parts)) {
  Task::run = [](Task& task) noexcept { static_cast<Connection&>(task).run(); };
}

Connection::~Connection() {
  assert(!posted_);
  if (socket_ >= 0) ::close(socket_);
}

void Connection::wake() noexcept {
  if (std::exchange(posted_, true)) return;
  parts_.engine.post(*this);
}

void Connection::socket_events(std::uint32_t events) noexcept {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) client_gone_ = true;
  if ((events & ~std::uint32_t{EPOLLOUT}) != 0) readable_ = true;
  if ((events & ~std::uint32_t{EPOLLIN}) != 0) writable_ = true;
  wake();
}

void Connection::stop() noexcept {
  if (state_ == State::closed) return;
  state_ = State::stopping;
  executor_->cut_off();
  wake();
}

void Connection::run() noexcept {
  posted_ = false;
  take_input();
  // What was sent may have made room for what was held back.
  if (send_output()) wake();
  if (executor_->broken()) close();
  const bool said = greetings_begin_ == greetings_end_ && executor_->outputs().empty();
  if (close_when_said_ && said) close();
  if (state_ == State::draining && executor_->idle()) close();
  // Whoever does not take what it asked for does not hold us up.
  if (state_ == State::stopping && !executor_->at_image() && (said || !writable_)) close();
  // The last call that was posted finds nothing to do.
  if (state_ == State::closed && executor_->idle() && !posted_) parts_.ended(parts_.owner, *this);
}

void Connection::take_input() noexcept {
  for (std::uint32_t steps = 0; steps < kStepsPerRun; ++steps) {
    if (!step()) return;
  }
  wake();
}

// False: nothing can be done before something changes.
bool Connection::step() noexcept {
  if (close_when_said_) return false;
  if (state_ == State::handshake) return step_handshake();
  if (state_ == State::requests) return step_requests();
  if (state_ == State::draining) static_cast<void>(executor_->advance());
  return false;
}

bool Connection::step_handshake() noexcept {
  // One answer at a time: who asks without listening waits.
  if (greetings_begin_ != greetings_end_ && !send_greetings()) return false;
  greetings_begin_ = 0;
  ByteWriter out(greetings_);
  auto input = staged();
  const auto next = handshake_.step(input, parts_.terms, out);
  input_begin_ = input_end_ - input.size();
  greetings_end_ = out.size();
  switch (next) {
    case Handshake::Next::step:
      return true;
    case Handshake::Next::more:
      return fill_input();
    case Handshake::Next::close:
      close_when_said_ = true;
      return false;
    case Handshake::Next::transmit:
      executor_->set_agreed(handshake_.structured_replies(), handshake_.block_status());
      state_ = State::requests;
      return true;
  }
  return false;
}

bool Connection::step_requests() noexcept {
  switch (executor_->advance()) {
    case Executor::Progress::payload:
      return take_payload();
    case Executor::Progress::ready:
      return take_request();
    case Executor::Progress::blocked:
      return false;
  }
  return false;
}

// What came along with the request is copied; the rest is received where it belongs.
bool Connection::take_payload() noexcept {
  const auto space = executor_->payload_space();
  const auto here = staged();
  if (here.empty()) {
    const auto received = receive(space);
    if (received != 0) executor_->payload_filled(received);
    return received != 0;
  }
  const auto bytes = std::min(here.size(), space.size());
  std::memcpy(space.data(), here.data(), bytes);
  input_begin_ += bytes;
  executor_->payload_filled(bytes);
  return true;
}

bool Connection::take_request() noexcept {
  const auto here = staged();
  if (here.size() < kRequestBytes) return fill_input();
  const auto request = parse_request(here.first<kRequestBytes>());
  input_begin_ += kRequestBytes;
  if (!request) {
    close();
    return false;
  }
  if (request->is(CommandType::disconnect)) {
    no_more_input();
    return false;
  }
  add<std::uint64_t>(parts_.counters.requests, 1);
  executor_->begin(*request);
  return true;
}

std::span<const std::byte> Connection::staged() const {
  return std::span(input_).subspan(input_begin_, input_end_ - input_begin_);
}

bool Connection::fill_input() noexcept {
  const auto here = staged();
  if (input_begin_ != 0) std::memmove(input_.data(), here.data(), here.size());
  input_begin_ = 0;
  input_end_ = here.size();
  const auto received = receive(std::span(input_).subspan(input_end_));
  input_end_ += received;
  return received != 0;
}

// 0: nothing now, or never again.
std::size_t Connection::receive(std::span<std::byte> into) noexcept {
  assert(!into.empty());
  if (!readable_) return 0;
  const auto result = ::recv(socket_, into.data(), into.size(), MSG_DONTWAIT);
  if (result > 0) {
    const auto bytes = static_cast<std::size_t>(result);
    has_spoken_ = true;
    // Less than there was room for: what comes later is told.
    if (bytes < into.size() && !client_gone_) readable_ = false;
    add<std::uint64_t>(parts_.counters.bytes_in, bytes);
    return bytes;
  }
  readable_ = result < 0 && errno == EINTR;
  if (result == 0) {
    no_more_input();
  } else if (readable_) {
    wake();
  } else if (errno != EAGAIN) {
    close();
  }
  return 0;
}

// Replies to what was asked still go out. Half a request is none.
void Connection::no_more_input() noexcept {
  if (state_ != State::requests || executor_->taking_payload()) return close();
  state_ = State::draining;
  wake();
}

// True when something was sent.
bool Connection::send_output() noexcept {
  bool sent = false;
  if (greetings_begin_ != greetings_end_) {
    sent = send_greetings();
    if (greetings_begin_ != greetings_end_) return sent;
  }
  return send_replies() || sent;
}

// True when all of it was.
bool Connection::send_greetings() noexcept {
  while (greetings_begin_ != greetings_end_) {
    iovec part = {greetings_.data() + greetings_begin_, greetings_end_ - greetings_begin_};
    const auto bytes = send_some({&part, 1});
    if (bytes == 0) return false;
    greetings_begin_ += bytes;
  }
  return true;
}

bool Connection::send_replies() noexcept {
  bool any = false;
  auto& outputs = executor_->outputs();
  while (!outputs.empty()) {
    std::array<iovec, 2 * kOutputsPerSend> parts;
    std::size_t count = 0;
    auto skipped = first_output_sent_bytes_;
    const auto append = [&](const std::byte* data, std::uint64_t bytes) {
      const auto skip = std::min(skipped, bytes);
      skipped -= skip;
      if (skip == bytes) return;
      parts[count++] = {const_cast<std::byte*>(data) + skip, bytes - skip};
    };
    for (const auto& output : outputs) {
      if (count + 2 > parts.size()) break;
      append(output.frame.data(), output.frame_bytes);
      append(output.data, output.data_bytes);
    }
    const auto bytes = send_some(std::span(parts).first(count));
    if (bytes == 0) return any;
    any = true;
    count_sent(bytes);
  }
  return any;
}

// Gives back the outputs of which the last byte was sent.
void Connection::count_sent(std::size_t bytes) noexcept {
  auto& outputs = executor_->outputs();
  std::uint64_t left = first_output_sent_bytes_ + bytes;
  while (!outputs.empty() && left >= outputs.front().bytes_total()) {
    Output& output = outputs.front();
    left -= output.bytes_total();
    outputs.pop_front();
    executor_->sent(output);
  }
  first_output_sent_bytes_ = left;
}

// 0: the client does not take any more now, or never will.
std::size_t Connection::send_some(std::span<iovec> parts) noexcept {
  if (!writable_ || state_ == State::closed) return 0;
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const auto result = ::sendmsg(socket_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (result > 0) {
    add<std::uint64_t>(parts_.counters.bytes_out, static_cast<std::uint64_t>(result));
    return static_cast<std::size_t>(result);
  }
  writable_ = result < 0 && errno == EINTR;
  if (writable_) {
    wake();
  } else if (errno != EAGAIN) {
    close();
  }
  return 0;
}

void Connection::close() noexcept {
  if (std::exchange(state_, State::closed) == State::closed) return;
  ::close(std::exchange(socket_, -1));
  greetings_begin_ = greetings_end_ = 0;
  executor_->abandon();
  wake();
}

}  // namespace xenblk::nbd
