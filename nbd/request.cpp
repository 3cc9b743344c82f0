#include "nbd/request.h"

namespace xenblk::nbd {
namespace {

// The flags that mean something for a command; others are a mistake.
std::uint16_t flags_known(CommandType type) {
  switch (type) {
    case CommandType::read:
      return kFua | kDontFragment;
    case CommandType::write_zeroes:
      return kFua | kNoHole | kFastZero;
    case CommandType::block_status:
      return kFua | kRequestOne;
    case CommandType::write:
    case CommandType::trim:
    case CommandType::flush:
    case CommandType::disconnect:
      return kFua;
  }
  return 0;
}

// Of those that have a reply. To a disk that is read-only all changes are known, but not permitted.
bool is_known(const Request& request, const Agreed& agreed) {
  switch (static_cast<CommandType>(request.type)) {
    case CommandType::read:
    case CommandType::write:
    case CommandType::flush:
    case CommandType::trim:
    case CommandType::write_zeroes:
      return true;
    case CommandType::block_status:
      return agreed.block_status;
    case CommandType::disconnect:
      return false;
  }
  return false;
}

bool changes_the_disk(const Request& request) {
  return request.is(CommandType::write) || request.is(CommandType::trim) ||
         request.is(CommandType::write_zeroes);
}

NbdError check_range(const Request& request, const Terms& terms) {
  if (request.bytes == 0) return NbdError::invalid;
  if (request.offset % terms.block_bytes_min != 0) return NbdError::invalid;
  if (request.bytes % terms.block_bytes_min != 0) return NbdError::invalid;
  const bool inside =
      request.bytes <= terms.size_bytes && request.offset <= terms.size_bytes - request.bytes;
  if (inside) return NbdError::none;
  return changes_the_disk(request) ? NbdError::no_space : NbdError::invalid;
}

}  // namespace

std::optional<Request> parse_request(std::span<const std::byte, kRequestBytes> bytes) {
  if (load<std::uint32_t>(bytes, 0) != kRequestMagic) return std::nullopt;
  return Request{.flags = load<std::uint16_t>(bytes, 4),
                 .type = load<std::uint16_t>(bytes, 6),
                 .cookie = load<std::uint64_t>(bytes, 8),
                 .offset = load<std::uint64_t>(bytes, 16),
                 .bytes = load<std::uint32_t>(bytes, 24)};
}

NbdError check_request(const Request& request, const Terms& terms, const Agreed& agreed) {
  if (!is_known(request, agreed)) return NbdError::invalid;
  const auto known = flags_known(static_cast<CommandType>(request.type));
  if ((request.flags & ~known) != 0) return NbdError::invalid;
  if (changes_the_disk(request) && (terms.flags & kReadOnly) != 0) return NbdError::not_permitted;
  if (request.is(CommandType::trim) && (terms.flags & kSendTrim) == 0) return NbdError::invalid;
  if (request.is(CommandType::flush)) {
    return request.offset == 0 && request.bytes == 0 ? NbdError::none : NbdError::invalid;
  }
  if (const auto range = check_range(request, terms); range != NbdError::none) return range;
  const bool moves_data = request.is(CommandType::read) || request.is(CommandType::write);
  if (moves_data && request.bytes > terms.block_bytes_max) return NbdError::invalid;
  if (request.has(kDontFragment)) {
    if (!agreed.structured_replies) return NbdError::invalid;
    if (request.bytes > agreed.chunk_bytes_max) return NbdError::overflow;
  }
  // Whether the file system makes a hole of them or writes them is known only afterwards.
  if (request.has(kFastZero)) return NbdError::not_supported;
  return NbdError::none;
}

void put_simple_reply(ByteWriter& out, NbdError error, std::uint64_t cookie) {
  out.put(kSimpleReplyMagic);
  out.put(error);
  out.put(cookie);
}

void put_chunk_header(ByteWriter& out, ChunkType type, bool last, std::uint64_t cookie,
                      std::uint32_t payload_bytes) {
  out.put(kChunkMagic);
  out.put(static_cast<std::uint16_t>(last ? kChunkDone : 0));
  out.put(type);
  out.put(cookie);
  out.put(payload_bytes);
}

}  // namespace xenblk::nbd
