// The negotiation of one connection, as bytes in and bytes out: "fixed newstyle" of the protocol.
// Pure: nothing is read or sent here. One thread. Whatever the client sends costs fixed memory, and
// ends with transmission, a closed connection, or the wish for more bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "nbd/byte_order.h"
#include "nbd/terms.h"

namespace xenblk::nbd {

class Handshake {
 public:
  // An option with more data is answered without looking at it. Room for the longest name that the
  // protocol allows, with as much for contexts.
  static constexpr std::size_t kOptionBytesMax = 8192;
  static constexpr std::size_t kHeaderBytes = 16;
  // The caller must be able to show so much at once.
  static constexpr std::size_t kInputBytesMax = kHeaderBytes + kOptionBytesMax;
  // One step says no more than this.
  static constexpr std::size_t kOutputBytesMax = 1024;
  // Nobody needs so many options; who sends more only keeps us busy.
  static constexpr std::uint32_t kOptionsMax = 1024;

  enum class Next : std::uint8_t {
    step,      // something was understood: call again
    more,      // it needs more bytes than there are
    transmit,  // what follows are requests
    close,     // after what was said was sent
  };

  // What the server says first.
  static void greet(ByteWriter& out);

  // Takes what it understands off the front of `input`, and appends what to say to `out`.
  Next step(std::span<const std::byte>& input, const Terms& terms, ByteWriter& out);

  // What was agreed; final once step() said `transmit`.
  bool structured_replies() const { return structured_replies_; }
  bool block_status() const { return block_status_; }

 private:
  struct Option {
    std::uint32_t type = 0;
    std::span<const std::byte> data;
  };

  Next take_flags(std::span<const std::byte>& input);
  Next take_option(std::span<const std::byte>& input, const Terms& terms, ByteWriter& out);
  Next answer(const Option& option, const Terms& terms, ByteWriter& out);
  Next export_name(const Option& option, const Terms& terms, ByteWriter& out) const;
  Next list(const Option& option, const Terms& terms, ByteWriter& out) const;
  Next info_or_go(const Option& option, const Terms& terms, ByteWriter& out) const;
  Next structured(const Option& option, ByteWriter& out);
  Next meta_context(const Option& option, const Terms& terms, ByteWriter& out);

  bool flags_seen_ = false;
  bool no_zeroes_ = false;
  bool structured_replies_ = false;
  bool block_status_ = false;
  std::uint32_t options_seen_ = 0;
  std::uint32_t skip_bytes_ = 0;  // of an option that is too long
};

}  // namespace xenblk::nbd
