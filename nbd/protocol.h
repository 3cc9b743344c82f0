// The numbers of the NBD protocol as it goes over the wire, all big-endian. Plain values.
// Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (names as there).
#pragma once

#include <cstdint>
#include <string_view>

namespace xenblk::nbd {

inline constexpr std::uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kChunkMagic = 0x668e33ef;  // of a structured reply

// Handshake flags; the client answers with those of its own, which have the same bits.
inline constexpr std::uint16_t kFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kNoZeroes = 1 << 1;

enum class OptionType : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
};

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  unsupported = 0x80000001,
  invalid = 0x80000003,
  unknown = 0x80000006,
  too_big = 0x80000009,
};

enum class InfoType : std::uint16_t { export_facts = 0, name = 1, block_size = 3 };

// What an export can do: transmission flags.
inline constexpr std::uint16_t kHasFlags = 1 << 0;
inline constexpr std::uint16_t kReadOnly = 1 << 1;
inline constexpr std::uint16_t kSendFlush = 1 << 2;
inline constexpr std::uint16_t kSendFua = 1 << 3;
inline constexpr std::uint16_t kSendTrim = 1 << 5;
inline constexpr std::uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr std::uint16_t kSendDf = 1 << 7;
inline constexpr std::uint16_t kCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kSendFastZero = 1 << 11;

enum class CommandType : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  write_zeroes = 6,
  block_status = 7,
};

// Command flags.
inline constexpr std::uint16_t kFua = 1 << 0;     // on stable storage before it is answered
inline constexpr std::uint16_t kNoHole = 1 << 1;  // zeroes that take space
inline constexpr std::uint16_t kDontFragment = 1 << 2;
inline constexpr std::uint16_t kRequestOne = 1 << 3;  // one extent only
inline constexpr std::uint16_t kFastZero = 1 << 4;    // only if that is faster than writing

enum class ChunkType : std::uint16_t { none = 0, offset_data = 1, block_status = 5, error = 32769 };
inline constexpr std::uint16_t kChunkDone = 1 << 0;

// The only context there is, which parts of the disk are stored, and what it says.
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr std::uint32_t kBaseAllocationId = 1;
inline constexpr std::uint32_t kStateHole = 1 << 0;
inline constexpr std::uint32_t kStateZero = 1 << 1;

enum class NbdError : std::uint32_t {
  none = 0,
  not_permitted = 1,
  io = 5,
  invalid = 22,
  no_space = 28,
  overflow = 75,
  not_supported = 95,
  shutdown = 108,
};

inline constexpr std::uint32_t kRequestBytes = 28;
inline constexpr std::uint32_t kSimpleReplyBytes = 16;
inline constexpr std::uint32_t kChunkHeaderBytes = 20;

}  // namespace xenblk::nbd
