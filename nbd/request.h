// One request as it came over the wire, and the frames of its replies. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "nbd/byte_order.h"
#include "nbd/terms.h"

namespace xenblk::nbd {

struct Request {
  std::uint16_t flags = 0;
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;  // the client's, given back with the reply
  std::uint64_t offset = 0;  // bytes
  std::uint32_t bytes = 0;
  friend bool operator==(const Request&, const Request&) = default;

  bool is(CommandType one) const { return type == static_cast<std::uint16_t>(one); }
  bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
  // After a request of this kind come its data, whatever is thought of it.
  std::uint32_t payload_bytes() const { return is(CommandType::write) ? bytes : 0; }
};

// What the handshake agreed on, and how much fits into one chunk.
struct Agreed {
  bool structured_replies = false;
  bool block_status = false;
  std::uint32_t chunk_bytes_max = 0;
};

// Nothing: this is no request, and where the next one begins is unknown.
std::optional<Request> parse_request(std::span<const std::byte, kRequestBytes> bytes);

// What the client gets for a request at once; `none`: it is to be carried out.
NbdError check_request(const Request& request, const Terms& terms, const Agreed& agreed);

void put_simple_reply(ByteWriter& out, NbdError error, std::uint64_t cookie);
void put_chunk_header(ByteWriter& out, ChunkType type, bool last, std::uint64_t cookie,
                      std::uint32_t payload_bytes);

}  // namespace xenblk::nbd
