// What every image does with a request: begin, find it again from its parts, answer it.
// The request's own thread only.
#pragma once

#include <boost/intrusive/parent_from_member.hpp>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "xenblk/image.h"

namespace xenblk::vhd {

inline IoStatus status_from_result(std::int64_t result) {
  if (result >= 0) return IoStatus::okay;
  return result == -ENOSPC || result == -EDQUOT ? IoStatus::no_space : IoStatus::io_error;
}

inline ImageRequest& request_of(Task& task) {
  return *boost::intrusive::get_parent_from_member(&task, &ImageRequest::task);
}

// Puts what belongs to the image into its first state.
inline void begin(ImageRequest& request) {
  assert(request.engine != nullptr && request.done != nullptr);
  request.status = IoStatus::okay;
  request.sectors_planned = 0;
  request.in_flight = 0;
  for (auto& piece : request.pieces) piece.request = nullptr;
}

// Nothing of the request may be touched after this: the caller may reuse it in `done`.
inline void answer(ImageRequest& request, IoStatus status) {
  assert(request.in_flight == 0);
  request.status = status;
  request.done(request);
}

// Answers from the request's own thread, soon: for any thread, and for use inside submit().
inline void answer_later(ImageRequest& request, IoStatus status) {
  request.status = status;
  request.task.run = [](Task& task) noexcept {
    auto& finished = request_of(task);
    answer(finished, finished.status);
  };
  request.engine->post(request.task);
}

// The status of a request that cannot be served whatever the image contains; okay otherwise.
inline IoStatus refusal(const ImageRequest& request, const ImageInfo& info) {
  if (request.op == ImageOp::flush) return IoStatus::okay;
  if (!fits(request.first, request.count, info.capacity)) return IoStatus::out_of_range;
  if (request.op != ImageOp::read && info.access == Access::read_only) return IoStatus::read_only;
  return IoStatus::okay;
}

// A read that met the end of the file is a read of zeroes there.
inline void zero_what_was_not_read(const IoOp& op) {
  assert(op.kind == IoKind::read && op.result >= 0);
  const auto read = static_cast<std::uint64_t>(op.result);
  assert(read <= op.bytes);
  if (read < op.bytes) std::memset(op.buffer + read, 0, op.bytes - read);
}

}  // namespace xenblk::vhd
