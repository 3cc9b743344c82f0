// What one connection has under way, in slots that exist before anything is asked: nothing is
// allocated per request. Pinned.
#pragma once

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>

#include "nbd/request.h"
#include "xenblk/image.h"

namespace xenblk::nbd {

class Executor;

struct OutputTag;
using OutputHook = boost::intrusive::list_base_hook<boost::intrusive::tag<OutputTag>>;

// Something to send: a frame, and data behind it. Free ones are kept by the same hook.
struct Output : OutputHook {
  std::array<std::byte, 32> frame = {};
  std::uint32_t frame_bytes = 0;
  const std::byte* data = nullptr;
  std::uint32_t data_bytes = 0;
  bool is_piece = false;

  std::uint64_t bytes_total() const { return std::uint64_t{frame_bytes} + data_bytes; }
};
using OutputList = boost::intrusive::list<Output, boost::intrusive::base_hook<OutputHook>,
                                          boost::intrusive::constant_time_size<false>>;

// A request of the client. What has no data goes to the image as one request: this one.
struct Command : Output, ImageRequest {
  Executor* executor = nullptr;
  Request request;
  std::uint64_t bytes_left = 0;   // no piece has them yet
  std::uint32_t pieces_open = 0;  // at the image, or waiting to be sent
  std::uint32_t at_image = 0;
  NbdError error = NbdError::none;
  bool taken = false;     // all of it is in pieces
  bool flushed = false;   // what it wrote is on stable storage
  bool answered = false;  // the end of its reply is queued, or, of a simple one, the beginning
};

// A part of a command's data, with memory of its own.
struct Piece : Output, ImageRequest {
  Command* command = nullptr;
  std::byte* buffer = nullptr;  // none: zeroes to be written
  std::uint32_t bytes = 0;
  std::uint32_t filled = 0;  // with the client's data
};

}  // namespace xenblk::nbd
