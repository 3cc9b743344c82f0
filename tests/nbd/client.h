// A client of an export, written against the protocol only: what libnbd would never send, it can.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/nbd/wire.h"

namespace xenblk::test {

// Owns the socket. Every call waits; a test that waits for ever is ended by the test's timeout.
class Client {
 public:
  explicit Client(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const auto* any = reinterpret_cast<const sockaddr*>(&address);
    EXPECT_EQ(::connect(socket_, any, sizeof address), 0) << path;
  }
  ~Client() { hang_up(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void hang_up() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

  void send(const Wire& wire) {
    std::span<const std::byte> left = wire.bytes();
    while (!left.empty()) {
      const auto sent = ::send(socket_, left.data(), left.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the server closed; what it said tells why
      left = left.subspan(static_cast<std::size_t>(sent));
    }
  }

  // As many bytes, fewer when the server has closed.
  std::vector<std::byte> receive(std::size_t bytes) {
    std::vector<std::byte> all(bytes);
    std::size_t have = 0;
    while (have < bytes) {
      const auto got = ::recv(socket_, all.data() + have, bytes - have, 0);
      if (got <= 0) break;
      have += static_cast<std::size_t>(got);
    }
    all.resize(have);
    return all;
  }

  bool closed() { return receive(1).empty(); }

  // Through the handshake; block status is agreed on with structured replies.
  void agree(bool structured) {
    Wire all = client_flags();
    std::size_t bytes = 18 + 20 + 12 + 20 + 14 + 20;
    if (structured) {
      all.add(option(nbd::OptionType::structured_reply));
      all.add(option(nbd::OptionType::set_meta_context, contexts("", {"base:allocation"})));
      bytes += 20 + 20 + 4 + nbd::kBaseAllocation.size() + 20;
    }
    all.add(option(nbd::OptionType::go, wanted("")));
    send(all);
    EXPECT_EQ(receive(bytes).size(), bytes);
  }

  // The simple reply to come: its cookie and its error.
  std::pair<std::uint64_t, nbd::NbdError> simple_reply() {
    const auto bytes = receive(nbd::kSimpleReplyBytes);
    if (bytes.size() != nbd::kSimpleReplyBytes) return {0, nbd::NbdError::shutdown};
    EXPECT_EQ(nbd::load<std::uint32_t>(bytes, 0), nbd::kSimpleReplyMagic);
    return {nbd::load<std::uint64_t>(bytes, 8),
            static_cast<nbd::NbdError>(nbd::load<std::uint32_t>(bytes, 4))};
  }

  struct Chunk {
    std::uint16_t flags = 0;
    std::uint16_t type = 0;
    std::uint64_t cookie = 0;
    std::vector<std::byte> payload;
  };
  Chunk chunk() {
    const auto header = receive(nbd::kChunkHeaderBytes);
    if (header.size() != nbd::kChunkHeaderBytes) return {};
    EXPECT_EQ(nbd::load<std::uint32_t>(header, 0), nbd::kChunkMagic);
    return {nbd::load<std::uint16_t>(header, 4), nbd::load<std::uint16_t>(header, 6),
            nbd::load<std::uint64_t>(header, 8), receive(nbd::load<std::uint32_t>(header, 16))};
  }

 private:
  int socket_;
};

}  // namespace xenblk::test
