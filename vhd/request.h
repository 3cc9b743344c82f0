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

// What a request remembers while it waits: words of its scratch.
enum class Scratch : std::size_t {
  image,            // the image that plans it
  waits_for,        // the job or group that brings it back
  written_sectors,  // by a job
  status,           // of what it waited for
  then,             // what a FlushGroup calls
  ticket,           // of the image's GracePeriods
};

inline std::uint64_t& scratch(ImageRequest& request, Scratch word) {
  return request.scratch[static_cast<std::size_t>(word)];
}

template <class T>
T& scratch_object(ImageRequest& request, Scratch word) {
  return *reinterpret_cast<T*>(scratch(request, word));
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
inline void answer(ImageRequest& request, IoStatus status) noexcept {
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

// How a request goes on after it waited: on its own thread, never inside submit().
using Then = void (*)(ImageRequest& request, IoStatus status) noexcept;

inline void post_then(ImageRequest& request, Then then, IoStatus status) {
  scratch(request, Scratch::then) = reinterpret_cast<std::uintptr_t>(then);
  scratch(request, Scratch::status) = static_cast<std::uint64_t>(status);
  request.task.run = [](Task& task) noexcept {
    auto& woken = request_of(task);
    const auto next = reinterpret_cast<Then>(scratch(woken, Scratch::then));
    next(woken, static_cast<IoStatus>(scratch(woken, Scratch::status)));
  };
  request.engine->post(request.task);
}

// The status of a request that cannot be served whatever the image contains; okay otherwise.
inline IoStatus refusal(const ImageRequest& request, SectorCount capacity, Access access) {
  if (request.op == ImageOp::flush) return IoStatus::okay;
  if (!fits(request.first, request.count, capacity)) return IoStatus::out_of_range;
  if (request.op != ImageOp::read && access == Access::read_only) return IoStatus::read_only;
  return IoStatus::okay;
}

inline IoStatus refusal(const ImageRequest& request, const ImageInfo& info) {
  return refusal(request, info.capacity, info.access);
}

// A read that met the end of the file is a read of zeroes there.
inline void zero_what_was_not_read(const IoOp& op) {
  assert(op.kind == IoKind::read && op.result >= 0);
  const auto read = static_cast<std::uint64_t>(op.result);
  assert(read <= op.bytes);
  if (read < op.bytes) std::memset(op.buffer + read, 0, op.bytes - read);
}

}  // namespace xenblk::vhd
